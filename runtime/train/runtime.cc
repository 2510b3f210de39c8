// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "absl/strings/str_cat.h"
#include "run_state.h"
#include "spillway/base/status.h"
#include "spillway/engine/environment.h"
#include "spillway/train/run.h"

namespace spillway {
namespace {

absl::Status check_options(const TrainData& data, const RunOptions& options)
{
  if (options.steps && *options.steps == 0)
    return absl::InvalidArgumentError("RunOptions::steps is 0: there is nothing to do");
  if (!(options.clip_norm >= 0))
    return absl::InvalidArgumentError(
        absl::StrCat("RunOptions::clip_norm is ", options.clip_norm, "; 0 means no clipping"));
  if (options.bucket_bytes == 0 || options.first_bucket_bytes == 0)
    return absl::InvalidArgumentError("RunOptions: a bucket of 0 bytes holds nothing");
  if (options.loss_scaling)
  {
    const LossScaling& scaling = *options.loss_scaling;
    if (!(scaling.initial > 0) || !(scaling.growth >= 1) || !(scaling.backoff > 0) ||
        !(scaling.backoff <= 1) || scaling.growth_interval < 1)
      return absl::InvalidArgumentError(
          "LossScaling: initial > 0, growth >= 1, 0 < backoff <= 1 and growth_interval >= 1");
  }
  // The engine checks it too, but only once the model has been registered.
  engine::DataOptions wanted;
  wanted.parts = data.parts;
  wanted.global_batch = data.global_batch;
  return engine::DataPlan::create(std::move(wanted)).status();
}

engine::EngineOptions engine_options(const std::string& job, const TrainData& data,
                                     const RunOptions& options, const internal::Replica& replica)
{
  engine::EngineOptions result;
  result.job_id = job;
  result.data.parts = data.parts;
  result.data.global_batch = data.global_batch;
  result.data.max_micro_batch = data.max_micro_batch;
  result.data.seed = data.seed;
  if (options.steps) result.last_step = StepId(*options.steps);
  result.parameter_count = replica.trained_parameters();
  result.arithmetic_class = replica.arithmetic_class();
  result.busy_limit = options.busy_limit;
  result.replica_check = options.replica_check;
  result.event_log_directory = options.event_log_directory;
  return result;
}

}  // namespace

Runtime Runtime::init()
{
  const engine::WorkerEnvironment worker = value_or_throw(engine::read_worker_environment());
  std::shared_ptr<engine::ProcessServices> services = engine::ProcessServices::create(worker);
  Runtime runtime =
      with_engine(worker.job, [services](engine::EngineOptions options, engine::StateTable table,
                                         std::vector<engine::BucketSpec> buckets,
                                         engine::ReplicaCallbacks& replica) {
        return engine::Engine::start(std::move(options), std::move(table), std::move(buckets),
                                     replica, services->services());
      });
  runtime.restart_count_ = worker.restart_count;
  runtime.event_log_directory_ = worker.event_log_directory;
  return runtime;
}

Runtime Runtime::with_engine(std::string job, EngineFactory factory)
{
  Runtime runtime;
  runtime.job_ = std::move(job);
  runtime.factory_ = std::move(factory);
  return runtime;
}

Run Runtime::start(const TrainState& state, const TrainData& data, const RunOptions& options)
{
  const std::string where = absl::StrCat("job ", job_);
  throw_if_error(annotate(check_options(data, options), where));
  auto run = std::make_unique<internal::RunState>(job_, options, factory_);
  if (run->options.event_log_directory.empty())
    run->options.event_log_directory = event_log_directory_;
  auto replica = internal::Replica::create(state, options, data.global_batch);
  throw_if_error(annotate(replica.status(), where));
  run->replica = std::move(*replica);
  auto engine = factory_(engine_options(job_, data, run->options, *run->replica),
                         run->replica->table(), run->replica->bucket_specs(), *run->replica);
  throw_if_error(annotate(engine.status(), where));
  run->engine = std::move(*engine);
  if (options.leave_on_sigterm)
    run->signal_watch = std::make_unique<internal::SignalWatch>(
        [leaving = run->engine.get()] { leaving->request_leave(); });
  return Run(std::move(run));
}

}  // namespace spillway
