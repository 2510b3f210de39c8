// SPDX-License-Identifier: Apache-2.0
#include "service/job_file.h"

#include <gtest/gtest.h>

#include "recording_worker.h"

namespace spillway::coordinator {
namespace {

JobFile full_file()
{
  JobFile file;
  file.options = node_hello(2, 3).options;
  file.options->lease = std::chrono::seconds(5);
  file.spec = worker_hello(1).spec;
  file.spec_owner = WorkerId(4);
  file.next_node = NodeId(9);
  file.nodes[NodeId(2)] = {NodeId(2), 77, "alpha", "10.0.0.1", 29500, 2, 3};
  file.round = {3, {{NodeId(2), "10.0.0.1", 29500, 2}}};
  file.exit = {.exit_code = 3, .signal = 0, .last_words = "boom"};
  return file;
}

TEST(JobFileTest, ComesBackWhole)
{
  JobRecord record;
  record.lineage = Lineage(5);
  record.last_number = Number(6);
  const JobFile file = full_file();
  const auto stored = decode_job("mnist", as_bytes(encode_job(file, &record)));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->file.options, file.options);
  EXPECT_EQ(stored->file.spec, file.spec);
  EXPECT_EQ(stored->file.spec_owner, file.spec_owner);
  EXPECT_EQ(stored->file.next_node, file.next_node);
  EXPECT_EQ(stored->file.nodes, file.nodes);
  EXPECT_EQ(stored->file.round, file.round);
  EXPECT_EQ(stored->file.exit, file.exit);
  ASSERT_TRUE(stored->record);
  EXPECT_EQ(stored->record->last_number, Number(6));
}

TEST(JobFileTest, NothingYetIsFine)
{
  const auto stored = decode_job("mnist", as_bytes(encode_job({}, nullptr)));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_FALSE(stored->record);
}

TEST(JobFileTest, EveryTurnedBitAndEveryShortFileIsRefused)
{
  JobRecord record;
  record.lineage = Lineage(5);
  const std::string bytes = encode_job(full_file(), &record);
  for (std::size_t at = 0; at < bytes.size(); ++at)
  {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x04);
    EXPECT_EQ(decode_job("mnist", as_bytes(damaged)).status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(decode_job("mnist", as_bytes(bytes.substr(0, at))).status().code(),
              absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace spillway::coordinator
