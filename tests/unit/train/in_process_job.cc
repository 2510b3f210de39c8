// SPDX-License-Identifier: Apache-2.0
#include "in_process_job.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "numbered_link.h"
#include "spillway/base/rng.h"
#include "spillway/comm/transport.h"

namespace spillway::testing {

InProcessJob::InProcessJob(std::uint32_t workers)
    : folder_(std::filesystem::temp_directory_path() /
              absl::StrCat("spillway-train-", secure_random_u64())),
      store_(coordinator::open_memory_store(coordinator::make_memory_disk()))
{
  std::filesystem::create_directories(folder_);
  const auto term = store_->begin_term();
  if (!term.ok()) ADD_FAILURE() << term.status();
  auto runner = coordinator::JobRunner::open(
      "toy", {},
      {.store = store_.get(), .term = *term, .clock = &system_clock(), .on_deposed = {}});
  if (!runner.ok()) ADD_FAILURE() << runner.status();
  runner_ = *std::move(runner);
  coordinator::NodeHello hello;
  hello.job = "toy";
  hello.slots = 8;
  hello.options.workers_min = workers;
  hello.options.workers_max = 8;
  hello.options.last_call = std::chrono::milliseconds(1);
  node_ = coordinator::InProcessNode::connect(*runner_, hello, system_clock());
}

InProcessJob::~InProcessJob()
{
  node_.reset();
  runner_.reset();
  std::filesystem::remove_all(folder_);
}

Runtime InProcessJob::runtime(std::int64_t worker)
{
  std::shared_ptr<coordinator::ControlLink> link =
      std::make_shared<NumberedLink>(node_->make_link(), worker);
  return Runtime::with_engine(
      "toy", [link](engine::EngineOptions options, engine::StateTable table,
                    std::vector<engine::BucketSpec> buckets, engine::ReplicaCallbacks& replica) {
        engine::EngineServices services;
        services.link = link.get();
        services.make_transport = comm::make_loopback_transport;
        services.clock = &system_clock();
        return engine::Engine::start(std::move(options), std::move(table), std::move(buckets),
                                     replica, services);
      });
}

std::thread InProcessJob::start(std::int64_t worker, std::string& error,
                                std::function<void()> program)
{
  return std::thread([this, worker, &error, program = std::move(program)] {
    try
    {
      program();
    }
    catch (const std::exception& thrown)
    {
      error = thrown.what();
    }
    node_->session().report_exited(worker, {.exit_code = 0, .signal = 0, .last_words = {}});
  });
}

invariants::LogReport InProcessJob::check_log() const
{
  const auto report = invariants::check_log_directory(folder_.string());
  EXPECT_TRUE(report.ok()) << report.status();
  if (!report.ok()) return {};
  EXPECT_TRUE(report->findings.empty()) << report->text();
  EXPECT_TRUE(report->replicas_equal);
  EXPECT_EQ(report->samples_lost, 0u);
  EXPECT_EQ(report->samples_doubled, 0u);
  return *report;
}

}  // namespace spillway::testing
