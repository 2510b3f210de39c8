// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "spillway/base/bytes.h"
#include "spillway/base/clock.h"
#include "spillway/base/ids.h"
#include "spillway/comm/types.h"
#include "spillway/engine/data.h"
#include "spillway/engine/state.h"

namespace spillway::coordinator {
class ControlLink;
}
namespace spillway::comm {
class Transport;
struct TransportOptions;
}  // namespace spillway::comm

namespace spillway::engine {

using std::chrono::milliseconds;
using std::chrono::seconds;

// One unit of reduction. Buckets are summed over the members, in index order.
struct BucketSpec
{
  comm::DType type{};
  std::uint64_t count = 0;
};

struct EngineOptions
{
  std::string job_id;
  DataOptions data;
  std::optional<StepId> last_step;    // the job ends after this step; none: only by request_stop
  std::uint64_t parameter_count = 0;  // bits of the used-parameter bitmap
  std::string arithmetic_class;  // device kind, CPU capability, threads, library build: must match
  // P4: a member whose last acknowledged heartbeat is older stops stepping. Must be shorter than
  // the coordinator's.
  Duration lease = std::chrono::minutes(9);
  Duration word_timeout = seconds(10);  // P13: all have handed in; then a link is reported
  Duration busy_limit = std::chrono::minutes(30);
  Duration prepare_timeout = seconds(10);
  Duration copy_timeout = std::chrono::minutes(10);
  bool replica_check = true;  // hash a part of the state with every control word (P16)
  std::uint64_t replica_check_bytes_per_step = 256 * 1024;
  // Where events for the checker are appended (worker-<id>.jsonl); empty: nowhere.
  std::string event_log_directory;
};

// What the loop computes next. Positions become samples by Engine::data().index_at().
struct StepPlan
{
  StepName name;
  std::vector<PositionRange> slice;  // never empty
  std::vector<std::vector<PositionRange>> micro_batches;
  bool redo = false;  // this step was begun before and aborted; the slice may be another
  // Exactly one of the members that contribute is the lead: it contributes what must be added
  // once, such as integer buffers.
  bool lead = false;
  Rank rank;
  std::uint32_t members = 1;
  std::vector<WorkerId> member_ids;
};

// What this member adds to the control word of its step.
struct StepContribution
{
  double weight = 0;    // sum over the slice, usually its sample count; totals divide by it
  double loss_sum = 0;  // sum, not mean
  std::uint64_t samples = 0;
  bool veto = false;                                // the step is committed but nobody applies it
  bool overflow = false;                            // as veto, with its own flag
  absl::Span<const std::uint64_t> used_parameters;  // bitmap; empty: all used
  // The positions that the loop really received, logged for the checker before the vote.
  std::vector<PositionRange> received;
};

// The control word of a step, folded in rank order: the same bits at every member.
struct StepTotals
{
  StepName name;
  double weight = 0;
  double loss_sum = 0;
  std::uint64_t samples = 0;
  bool veto = false;
  bool overflow = false;
  bool stop_requested = false;
  std::vector<std::uint64_t> used_parameters;
  std::uint32_t members = 0;
};

// The sums of one bucket over all members. The memory is the engine's, is valid until the next
// step begins, and may be overwritten by apply (clipping in place).
struct ReducedBucket
{
  comm::DType type{};
  MutableByteSpan bytes;
};

// How the engine reaches the replica. Every call comes on the user thread, from inside
// begin_step(), finish_step() or a user collective, and never two at once.
class ReplicaCallbacks
{
 public:
  virtual ~ReplicaCallbacks() = default;

  // Advances the replica by one step. Must be a pure function of the registered state, buckets
  // and totals. With totals.veto or totals.overflow it leaves parameters and optimizer alone.
  // A failure costs this member its state: it copies it from another one (P15).
  virtual absl::Status apply(const StepTotals& totals, absl::Span<ReducedBucket> buckets) = 0;

  // Writes what lives outside of the registered memory (step counters inside an optimizer) into
  // entries of the table. Called when a step begins, before the state is shadowed and served.
  virtual absl::Status export_state() = 0;
  // The reverse, after the table was overwritten by a copy or put back after an abort.
  virtual absl::Status import_state() = 0;
};

enum class StepResult
{
  kApplied,
  kSkipped,  // committed with a veto or an overflow: samples consumed, nothing applied
  kAborted,  // nothing happened; begin_step() yields the step again
};
// Among those who make the collectives after a step: which share is this member's, of how many.
struct Sharers
{
  Rank rank;
  std::uint32_t count = 0;
};

struct StepOutcome
{
  StepResult result = StepResult::kAborted;
  StepTotals totals;  // of an applied or skipped step
};

// Why begin_step() yields nothing.
enum class EndReason
{
  kNotEnded,
  kLastStep,  // last_step was applied
  kStopped,   // agreed after request_stop()
  kLeft,      // this member left and was released
};

// Counts and times of this member, for benches and reports.
struct EngineStats
{
  std::uint64_t steps_applied = 0;
  std::uint64_t steps_skipped = 0;
  std::uint64_t steps_aborted = 0;
  std::uint64_t epochs = 0;  // numbers that became current here
  std::uint64_t joins = 0;   // whole copies received
  std::uint64_t rolled_forward = 0;
  std::uint64_t state_bytes_copied = 0;
  std::uint64_t state_bytes_served = 0;
  std::optional<MonotonicTime> last_abort;
  std::optional<MonotonicTime> last_applied;
  std::optional<MonotonicTime> last_joined;
  Duration last_abort_to_applied{};
  Duration last_join{};         // registered → first applied step
  Duration last_word{};         // vote cast → control word complete
  Duration last_reduce_wait{};  // finish_step() called → last bucket complete
};

// What the engine is told to use. Link and clock outlive it; the transport is made, and owned, by
// the engine, which serves state through it: comm::make_transport or make_loopback_transport.
struct EngineServices
{
  coordinator::ControlLink* link = nullptr;
  std::function<absl::StatusOr<std::unique_ptr<comm::Transport>>(comm::TransportOptions)>
      make_transport;
  std::string host = "127.0.0.1";  // where peers reach this process
  const Clock* clock = nullptr;
};

// One worker's side of an elastic job: takes part in epochs, reduces, votes, applies exactly once,
// joins, serves and leaves, so that the loop sees nothing but steps.
//
//   while (auto plan = *engine->begin_step())      // also waits, joins, rolls forward, holds
//   {
//     compute plan->micro_batches while !engine->step_aborted(), write engine->bucket(i),
//     engine->bucket_ready(i) as soon as bucket i is whole;
//     engine->finish_step(contribution);
//   }
//
// One user thread calls begin_step, finish_step, bucket, and the collectives. bucket_ready and
// step_aborted may come from any thread between begin_step and finish_step; request_stop,
// request_leave, busy and stats from any thread at any time. Peers' deaths are no errors: a step
// is yielded again. A Status means that this process cannot go on: it should say so and end.
class Engine
{
 public:
  // Registers and returns; the first begin_step() waits for the first epoch.
  //   kInvalidArgument     sizes that do not fit each other, an empty data set; or the job refuses
  //                        this worker, and says the first difference (state, buckets, data,
  //                        arithmetic, version)
  //   kFailedPrecondition  the job refuses it as one of another job, or of another life of it
  //   kUnavailable         the agent cannot be reached
  static absl::StatusOr<std::unique_ptr<Engine>> start(EngineOptions options, StateTable table,
                                                       std::vector<BucketSpec> buckets,
                                                       ReplicaCallbacks& replica,
                                                       EngineServices services);
  // Without an end (see end_reason) this is a fault to the others, as if the process were killed.
  virtual ~Engine() = default;

  // Blocks until this member has a step to compute; none: the job ended or this member left.
  //   kFailedPrecondition  the replica check failed without a majority, or the job refused us
  //   others               as the callbacks returned them, when no other member holds the state
  virtual absl::StatusOr<std::optional<StepPlan>> begin_step() = 0;
  virtual EndReason end_reason() const = 0;

  // True once the step cannot complete any more: the loop may stop computing. One relaxed load.
  virtual bool step_aborted() const = 0;

  // Memory to write this member's contribution to bucket i into, valid from begin_step() to
  // finish_step(); it is another one in each epoch. It is not zeroed.
  virtual MutableByteSpan bucket(std::size_t index) = 0;
  // Bucket i is whole. Its reduction starts when all before it have started (P10). At most once a
  // step and bucket; what is not ready at finish_step() counts as zeros.
  virtual void bucket_ready(std::size_t index) = 0;

  // Reduces the rest, votes, and applies if everybody voted.
  virtual absl::StatusOr<StepOutcome> finish_step(const StepContribution& contribution) = 0;

  // User collectives, between finish_step() and begin_step() only, by every member that holds the
  // step, in the same order: keyed by (step, call index) and repeated over epoch changes until
  // they have one result. kAborted: the last step was aborted, or this member lost its state;
  // call begin_step(). kOutOfRange, at all members alike: others make the call than those whom
  // call_sharers() has named, so that a share would be missing; compute it anew for those whom it
  // names now, and call again. Sums run in rank order: the same bits for all.
  virtual absl::Status all_reduce(comm::DType type, MutableByteSpan values) = 0;
  virtual absl::StatusOr<std::vector<std::string>> all_gather(ByteSpan mine) = 0;
  virtual absl::Status barrier() = 0;
  // At first the members of the step.
  virtual Sharers call_sharers() = 0;

  // Asks for the end of the job; all members agree on the step with its control word.
  virtual void request_stop() = 0;
  // Asks to leave without hurting anybody; begin_step() yields nothing once released.
  virtual void request_leave() = 0;
  // While the returned object lives the progress deadline does not run against this member, up to
  // busy_limit.
  class Busy
  {
   public:
    virtual ~Busy() = default;
  };
  virtual std::unique_ptr<Busy> busy(std::string label) = 0;

  virtual EngineStats stats() const = 0;
  virtual const DataPlan& data() const = 0;
  // Valid once begin_step() has returned.
  virtual WorkerId worker_id() const = 0;
  virtual StateName state_name() const = 0;
};

}  // namespace spillway::engine
