// SPDX-License-Identifier: Apache-2.0
#include "store_suite.h"

namespace spillway::coordinator {
namespace {

struct MemoryStorage final : StoreBackend::Storage
{
  absl::StatusOr<std::unique_ptr<Store>> open() override { return open_memory_store(disk); }
  void corrupt(const std::string& job, const std::string&) override
  {
    coordinator::corrupt(*disk, job);
  }
  void full(bool is_full) override { set_faults(*disk, {.full = is_full}); }
  std::shared_ptr<MemoryDisk> disk = make_memory_disk();
};

INSTANTIATE_TEST_SUITE_P(Memory, StoreSuite,
                         ::testing::Values(StoreBackend{
                             "memory", [] { return std::make_unique<MemoryStorage>(); }}));

TEST(MemoryStoreTest, AnUnacknowledgedWriteTookPlace)
{
  auto disk = make_memory_disk();
  auto store = open_memory_store(disk);
  const Term term = *store->begin_term();
  set_faults(*disk, {.unacknowledged = true});
  EXPECT_EQ(store->write(term, "job", "x").code(), absl::StatusCode::kUnavailable);
  set_faults(*disk, {.unavailable = true});
  EXPECT_EQ(store->write(term, "job", "y").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(**store->load("job"), "x");
}

}  // namespace
}  // namespace spillway::coordinator
