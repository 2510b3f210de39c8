// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "call_rounds.h"
#include "control_word.h"
#include "copier.h"
#include "driver.h"
#include "event_log.h"
#include "links.h"
#include "pipeline.h"
#include "pulse.h"
#include "served_state.h"
#include "spillway/comm/transport.h"
#include "spillway/coordinator/link.h"
#include "spillway/engine/engine.h"
#include "step_times.h"

namespace spillway::engine {

// Composes the parts: the driver of the pure core, the groups by number, the pipeline of buckets,
// the served state, the copier. README.md says which thread does what. Files: engine.cc (start,
// end, what any thread may ask), engine_control.cc (what the core decides, under the driver's
// lock), engine_step.cc (begin and finish), engine_word.cc (totals, vote, apply), engine_join.cc
// (copying, steps that the runtime contributes itself), engine_collectives.cc.
class EngineImpl final : public Engine
{
 public:
  EngineImpl(EngineOptions options, StateTable table, std::vector<BucketSpec> buckets,
             ReplicaCallbacks& replica, EngineServices services, DataPlan data);
  ~EngineImpl() override;
  absl::Status start();

  absl::StatusOr<std::optional<StepPlan>> begin_step() override;
  EndReason end_reason() const override { return end_; }
  bool step_aborted() const override { return step_aborted_.load(std::memory_order_relaxed); }
  MutableByteSpan bucket(std::size_t index) override;
  void bucket_ready(std::size_t index) override;
  absl::StatusOr<StepOutcome> finish_step(const StepContribution& contribution) override;
  absl::Status all_reduce(comm::DType type, MutableByteSpan values) override;
  absl::StatusOr<std::vector<std::string>> all_gather(ByteSpan mine) override;
  absl::Status barrier() override;
  Sharers call_sharers() override;
  void request_stop() override;
  void request_leave() override;
  std::unique_ptr<Busy> busy(std::string label) override;
  EngineStats stats() const override;
  const DataPlan& data() const override { return data_; }
  WorkerId worker_id() const override { return self_; }
  StateName state_name() const override;

 private:
  // What the user thread knows of the step under way.
  struct Step
  {
    StepName name;
    std::shared_ptr<NumberLinks> links;
    bool open = false;    // begun, without a result
    bool silent = false;  // the runtime contributes; the loop does not see it
    bool control_only = false;
    bool took_ask = false;  // the loop has to ask again for the next one
    bool has_copiers = false;
    bool unseen = false;  // some member's loop does not see it
    bool call_failed = false;
    bool culprit = false;  // the replica check named this member
    bool stop_agreed = false;
    std::optional<StepResult> result;
    StepTotals totals;
    int late = 0;               // how often the missing were reported
    std::uint64_t changes = 0;  // of membership, when it began
    MonotonicTime begun_at{};
    StateName state() const { return {name.job_epoch, name.step}; }
  };
  // The reduced buckets of a vote, until the next step begins (P1).
  struct Kept
  {
    StateName state;
    StepTotals totals;
    std::size_t set = 0;
  };

  // engine.cc
  coordinator::WorkerHello hello() const;
  std::vector<std::string> terms() const;
  coordinator::LinkCallbacks link_callbacks();
  LinkContext link_context();
  std::unique_ptr<Copier> make_copier();
  Pulse::Config pulse_config();
  absl::Status over();
  void fault(absl::string_view point, StepId step = StepId()) const;

  // engine_control.cc: under the driver's lock
  std::optional<UserItem> execute(const MemberAction& action);
  std::optional<UserItem> on(const SendStatus& action);
  std::optional<UserItem> on(const SendProbeResult& action);
  std::optional<UserItem> on(const Prepare& action);
  std::optional<UserItem> on(const DropPrepared& action);
  std::optional<UserItem> on(const StopNumber& action);
  std::optional<UserItem> on(const EnterEpoch& action);
  std::optional<UserItem> on(const SwitchTo& action);
  std::optional<UserItem> on(const JoinNumber& action);
  std::optional<UserItem> on(const CloseNumber& action);
  std::optional<UserItem> on(const LeaveNumber& action);
  std::optional<UserItem> on(const StandAside& action);
  std::optional<UserItem> on(const CopyBase& action);
  std::optional<UserItem> on(const StopCopying& action);
  std::optional<UserItem> on(const InstallRange& action);
  std::optional<UserItem> on(const ProbePeer& action);
  std::optional<UserItem> on(const MemberDecision& action);
  std::optional<UserItem> on(const RuleBroken& action);
  std::optional<UserItem> on(const BeginStep& action);
  std::optional<UserItem> on(const Exit& action);
  template <typename Other>
  std::optional<UserItem> on(const Other& action)
  {
    return UserItem{action, {}};
  }
  void became_current(Number number, StateName base, const MemberList& members);
  void peer_lost(Number number, WorkerId peer, const std::string& reason);

  // engine_step.cc
  absl::Status rest();
  void ask();
  absl::Status handle(UserItem item);
  absl::Status user(const BeginStep& action);
  absl::Status user(const CastVote& action);
  absl::Status user(const Apply& action);
  absl::Status user(const RollForward& action);
  absl::Status user(const AdoptInitialState& action);
  absl::Status user(const Finished& action);
  absl::Status user(const Exit& action);
  template <typename Other>
  absl::Status user(const Other&)
  {
    return absl::OkStatus();
  }
  Driver::Decision decide_in_begin(const UserItem* front);
  Driver::Decision decide_in_finish(const UserItem* front);
  bool needs_gate(const BeginStep& action);
  std::vector<MutableByteSpan> result_spans(std::size_t set);
  absl::StatusOr<StepOutcome> settle();
  void settled(StepResult result);
  std::string last_calls() const;

  // engine_word.cc
  absl::Status gather_totals(const StepContribution* contribution);
  absl::StatusOr<std::vector<Vote>> gather_votes(const Vote& mine);
  Vote make_vote(Number prepared) const;
  absl::Status check_replicas(absl::Span<const Vote> votes);
  absl::Status apply(StateName state, const StepTotals& totals, std::size_t set);
  absl::Status call_failed(const absl::Status& status);
  comm::CallOptions word_options();
  MonotonicTime word_is_late(const std::vector<WorkerId>& missing, MonotonicTime since);
  std::uint64_t check_offset() const;
  std::uint64_t check_bytes() const;

  // engine_join.cc
  absl::Status install(const InstallRange& action, std::vector<std::byte> bytes);
  absl::Status contribute_silently();
  absl::Status finish_silent_step();

  bool done_without_coordinator();
  // engine_collectives.cc
  std::uint64_t sharers();
  absl::StatusOr<std::vector<std::string>> collective(const UserCall& call);
  absl::StatusOr<std::vector<std::string>> collective_over(NumberLinks& links,
                                                           const UserCall& call);
  absl::StatusOr<std::shared_ptr<NumberLinks>> collective_links(Number after);

  const EngineOptions options_;
  const StateTable table_;
  const std::vector<BucketSpec> buckets_;
  ReplicaCallbacks& replica_;
  const EngineServices services_;
  const Clock& clock_;
  const DataPlan data_;
  const TotalsCodec totals_codec_;
  WorkerId self_;
  Lineage lineage_;
  Duration lease_{};
  EventLog log_;

  Driver driver_;
  // Guarded by the driver's lock.
  std::uint64_t changes_ = 0;
  bool in_begin_ = false;   // the loop waits in begin_step()
  bool ask_taken_ = false;  // the core began a step for the loop since it asked
  bool ask_again_ = false;  // that step is void and the loop still waits
  absl::Status link_over_;

  std::atomic<bool> step_aborted_{false};
  std::atomic<std::uint64_t> step_number_{0};
  std::atomic<std::uint64_t> held_number_{0};
  std::atomic<std::uint64_t> held_step_{0};
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> released_{false};
  std::atomic<bool> backward_seen_{false};
  mutable std::mutex stats_mutex_;
  EngineStats stats_;
  MonotonicTime registered_at_{};
  StepTimes step_times_;

  // User thread.
  ServedState served_;
  std::optional<StateName> held_;
  bool rested_ = false;   // the held state is exported, shadowed and open to readers
  bool restore_ = false;  // an aborted step left its marks on buffers and scalars
  bool asked_ = false;    // inside begin_step()
  Step step_;
  std::optional<StepPlan> plan_;
  std::optional<Kept> kept_;
  std::array<std::vector<std::vector<std::byte>>, 2> results_;
  std::size_t set_ = 0;
  StepName first_step_;          // of the current number
  std::map<StepId, int> begun_;  // steps handed to the loop since the last result
  absl::Status apply_error_;
  absl::Status fatal_;
  EndReason end_ = EndReason::kNotEnded;
  bool stop_agreed_ = false;
  CallRounds calls_;
  std::vector<WorkerId> sharers_;  // who makes calls after that state, as the loop knows
  std::optional<StateName> sharers_of_;

  // What calls from threads that the destructor has not yet ended go through.
  struct CallbackGate
  {
    template <typename Call>
    void pass(Call call)
    {
      const std::lock_guard lock(mutex);
      if (engine != nullptr) call(*engine);
    }
    std::mutex mutex;
    EngineImpl* engine = nullptr;
  };
  std::shared_ptr<CallbackGate> gate_;
  std::unique_ptr<comm::Transport> transport_;
  std::unique_ptr<Links> links_;
  std::unique_ptr<Copier> copier_;
  std::unique_ptr<BucketPipeline> pipeline_;
  std::unique_ptr<Pulse> pulse_;
};

}  // namespace spillway::engine
