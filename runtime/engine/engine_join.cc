// SPDX-License-Identifier: Apache-2.0
// Copying the base, and steps to which the runtime contributes by itself (P7).
#include <cstring>

#include "engine_impl.h"
#include "spillway/base/check.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::engine {

absl::Status EngineImpl::user(const AdoptInitialState& action)
{
  held_ = action.base;
  held_number_.store(action.base.number.value(), std::memory_order_relaxed);
  held_step_.store(action.base.step.value(), std::memory_order_relaxed);
  rested_ = false;
  return rest();
}

// From the first range on the old state is gone.
absl::Status EngineImpl::install(const InstallRange& action, std::vector<std::byte> bytes)
{
  served_.close();
  rested_ = false;
  restore_ = false;
  held_.reset();
  served_.write(action.range * copier_->range_bytes(), {bytes.data(), bytes.size()});
  copier_->release(std::move(bytes));
  if (!action.completes) return absl::OkStatus();
  fault("join.copied", action.state.step);
  SPILLWAY_RETURN_IF_ERROR(
      annotate(replica_.import_state(), "the copied state is refused by the replica"));
  log_info("holds a whole copy of state ", to_string(action.state));
  held_ = action.state;
  held_number_.store(action.state.number.value(), std::memory_order_relaxed);
  held_step_.store(action.state.step.value(), std::memory_order_relaxed);
  {
    const std::lock_guard lock(stats_mutex_);
    ++stats_.joins;
  }
  // What is served from here on is what was copied, not what an export would make of it.
  served_.take_shadow();
  served_.open(*held_);
  rested_ = true;
  return absl::OkStatus();
}

// Zeros for a member without the base, or without a slice: the loop is not asked.
absl::Status EngineImpl::contribute_silently()
{
  step_.silent = true;
  for (std::size_t i = 0; i < buckets_.size(); ++i)
  {
    const MutableByteSpan memory = pipeline_->contribution(i);
    std::memset(memory.data(), 0, memory.size());
    pipeline_->mark_ready(i);
  }
  pulse_->handed_in(!step_.took_ask);
  pipeline_->finish_in_background([this](const absl::Status& reduced) {
    absl::Status status = reduced;
    if (status.ok()) status = gather_totals(nullptr);
    if (status.ok())
    {
      fault("reduce.done", step_.name.step);
      driver_.feed(BucketsReduced{step_.name.job_epoch, step_.name.step});
      return;
    }
    log_info("step ", step_.name.step.value(), " of ", step_.name.job_epoch.value(),
             " cannot complete: ", status.message());
    if (status.code() == absl::StatusCode::kFailedPrecondition)
      driver_.locked([&] { link_over_ = status; });
  });
  return absl::OkStatus();
}

// After its apply: the loop still waits for its step.
absl::Status EngineImpl::finish_silent_step()
{
  {
    const std::lock_guard lock(stats_mutex_);
    const MonotonicTime now = clock_.now();
    if (!stats_.last_joined && stats_.joins > 0) stats_.last_join = now - registered_at_;
    if (stats_.joins > 0) stats_.last_joined = now;
  }
  if (step_.took_ask) ask();
  return absl::OkStatus();
}

}  // namespace spillway::engine
