// SPDX-License-Identifier: Apache-2.0
// User collectives between two steps, repeated over changes of membership until they have a result.
#include <algorithm>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "engine_impl.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::engine {

// The group whose members hold the step. That is the one which reduced it, since who leaves after
// the step takes part as well, if it works and if the loops of all its members saw the step: a
// joiner's does not see its first one and makes no calls. Else that of the newest number, where
// whoever makes no calls goes through the gate of its next step. `failed`: a call over that
// number's group failed.
absl::StatusOr<std::shared_ptr<NumberLinks>> EngineImpl::collective_links(Number failed)
{
  const StateName state = *held_;
  if (!failed && (!step_.unseen || driver_.current() == state.number))
  {
    const std::shared_ptr<NumberLinks> reduced = links_->get(state.number);
    if (reduced && !reduced->stopped()) return reduced;
  }
  std::shared_ptr<NumberLinks> found;
  // The queue may hold what only begin_step() does: it means that this member has lost its state.
  const std::optional<UserItem> item = driver_.take([&](const UserItem* front) {
    if (!link_over_.ok() || front != nullptr) return Driver::Decision::kStop;
    const MemberCore& core = driver_.core();
    if (core.status().applied != state) return Driver::Decision::kStop;
    const bool newer = core.current() > std::max(failed, state.number) && !core.stopped();
    if (newer && core.status().installed == core.current()) found = links_->get(core.current());
    return found ? Driver::Decision::kStop : Driver::Decision::kWait;
  });
  if (found) return found;
  return absl::AbortedError(absl::StrCat("worker ", self_.value(), " does not hold step ",
                                         state.step.value(), " any more: call begin_step()"));
}

// Whoever never makes the call lets the others wait, as with a step (P13).
absl::StatusOr<std::vector<std::string>> EngineImpl::collective_over(NumberLinks& links,
                                                                     const UserCall& call)
{
  SPILLWAY_RETURN_IF_ERROR(links.await_ready());
  const StepId next = held_->step.next();
  const Number current = driver_.current();
  pulse_->begin_call({.lineage = lineage_,
                      .job_epoch = current,
                      .round = RoundId(next.value()),
                      .site_epoch = current,
                      .step = next});
  const absl::Cleanup ended = [this] { pulse_->end_call(); };
  SPILLWAY_RETURN_IF_ERROR(links.announce());
  return calls_.call(links, call);
}

// As the loop knows them: the members of the step, or whom a call found since.
std::uint64_t EngineImpl::sharers()
{
  if (!held_ || sharers_of_ == *held_) return hash_of_sharers(sharers_);
  sharers_of_ = *held_;
  sharers_.clear();
  if (step_.links)
    for (const MemberInfo& member : step_.links->members().members())
      sharers_.push_back(member.worker);
  return hash_of_sharers(sharers_);
}

Sharers EngineImpl::call_sharers()
{
  sharers();
  const auto self = std::find(sharers_.begin(), sharers_.end(), self_);
  return {Rank(static_cast<std::uint32_t>(self - sharers_.begin())),
          static_cast<std::uint32_t>(sharers_.size())};
}

absl::StatusOr<std::vector<std::string>> EngineImpl::collective(const UserCall& call)
{
  SPILLWAY_RETURN_IF_ERROR(fatal_);
  if (step_.open) return absl::FailedPreconditionError("collectives are called between two steps");
  if (!held_ || restore_ || end_ != EndReason::kNotEnded)
    return absl::AbortedError("the last step was aborted, or there was none: call begin_step()");
  fault("collective.called", held_->step);
  Number failed;
  while (true)
  {
    SPILLWAY_ASSIGN_OR_RETURN(const std::shared_ptr<NumberLinks> links, collective_links(failed));
    absl::StatusOr<std::vector<std::string>> result = collective_over(*links, call);
    if (result.ok()) return result;
    const absl::Status& status = result.status();
    if (absl::IsOutOfRange(status)) sharers_ = calls_.sharers();
    if (status.code() == absl::StatusCode::kFailedPrecondition ||
        status.code() == absl::StatusCode::kInvalidArgument || absl::IsOutOfRange(status))
      return status;
    log_info("a collective after step ", held_->step.value(), " is repeated: ", status.message());
    failed = links->number();
  }
}

absl::Status EngineImpl::all_reduce(comm::DType type, MutableByteSpan values)
{
  if (values.size() % comm::size_bytes(type) != 0)
    return absl::InvalidArgumentError(absl::StrCat(values.size(), " bytes are no whole number of ",
                                                   comm::name_of(type), " elements"));
  const UserCall call{
      .kind = UserCall::Kind::kSum,
      .type = type,
      .value = std::string(reinterpret_cast<const char*>(values.data()), values.size()),
      .sharers = sharers()};
  SPILLWAY_ASSIGN_OR_RETURN(const std::vector<std::string> sums, collective(call));
  std::memcpy(values.data(), sums[0].data(), values.size());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> EngineImpl::all_gather(ByteSpan mine)
{
  return collective({.kind = UserCall::Kind::kGather,
                     .type = {},
                     .value = std::string(reinterpret_cast<const char*>(mine.data()), mine.size()),
                     .sharers = sharers()});
}

absl::Status EngineImpl::barrier()
{
  return collective({.kind = UserCall::Kind::kGather, .type = {}, .value = {}, .sharers = 0})
      .status();
}

}  // namespace spillway::engine
