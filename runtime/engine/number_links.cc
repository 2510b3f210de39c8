// SPDX-License-Identifier: Apache-2.0
#include "number_links.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::engine {
namespace {

// Between two attempts at a pending number: long enough for a peer to hear of it.
constexpr Duration kRetryPause = std::chrono::milliseconds(50);
// Of the calls that no step counts: nothing but these, a switch and a reconfiguration precede them.
constexpr std::uint32_t kAnnouncementIndex = 0xfffffff0;

}  // namespace

NumberLinks::NumberLinks(const LinkContext& context, Lineage lineage, Number number,
                         MemberListPtr members, Kind kind, bool listens)
    : context_(context),
      lineage_(lineage),
      number_(number),
      members_(std::move(members)),
      rank_(*members_->rank_of(context.self)),
      kind_(kind),
      listens_(listens)
{
  thread_ = std::thread([this] { run(); });
}

NumberLinks::~NumberLinks()
{
  stop();
  thread_.join();
}

void NumberLinks::stop()
{
  word_.raise(number_);
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

bool NumberLinks::ready() const
{
  const std::lock_guard lock(mutex_);
  return state_ == State::kReady;
}

absl::Status NumberLinks::await_ready()
{
  std::unique_lock lock(mutex_);
  // Bounded by the thread: it ends each attempt in time, and stop() ends it.
  changed_.wait(lock, [&] { return state_ != State::kConnecting || stopped(); });
  if (stopped()) return absl::AbortedError(absl::StrCat("number ", number_.value(), " is over"));
  return failure_;
}

void NumberLinks::run()
{
  while (!connect())
  {
    std::unique_lock lock(mutex_);
    if (state_ == State::kFailed) return;
    changed_.wait_for(lock, kRetryPause, [&] { return stopped(); });
    if (stopped()) return;
  }
  context_.events.on_ready(number_);
  if (!planned()) return;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return listens_ || said_ != Said::kNothing || stopped(); });
    if (!listens_ || stopped()) return;
  }
  if (announce().ok()) report_bases();
}

// One attempt; true if the group stands.
bool NumberLinks::connect()
{
  absl::Status status;
  std::vector<WorkerId> unreachable;
  if (!alone())
  {
    comm::GroupSpec spec{.lineage = lineage_, .number = number_, .rank = rank_, .members = {}};
    for (const MemberInfo& member : members_->members())
      spec.members.push_back({.worker = member.worker, .address = member.address});
    comm::ConnectOutcome outcome = context_.transport->connect(
        spec, word_, deadline_after(context_.clock->now(), context_.attempt));
    status = outcome.status;
    unreachable = std::move(outcome.unreachable);
    group_ = std::move(outcome.group);
    if (status.ok()) status = prepare_memory();
  }
  if (stopped()) return false;
  if (!status.ok())
    log_warning("number ", number_.value(), " cannot be connected: ", status.message());
  {
    const std::lock_guard lock(mutex_);
    if (status.ok()) state_ = State::kReady;
    if (!status.ok() && kind_ == Kind::kFormed)
    {
      state_ = State::kFailed;
      failure_ = absl::UnavailableError(status.message());
    }
    changed_.notify_all();
  }
  if (status.ok()) return true;
  if (kind_ == Kind::kFormed)
    for (WorkerId peer : unreachable)
      context_.events.on_lost(number_, peer, std::string(status.message()));
  else
    context_.events.on_unreachable(number_, std::move(unreachable));
  return false;
}

// Memory for contributions is touched here, so that no step pays for it.
absl::Status NumberLinks::prepare_memory()
{
  for (const std::size_t bytes : context_.bucket_bytes)
  {
    SPILLWAY_ASSIGN_OR_RETURN(const MutableByteSpan memory, group_->allocate(bytes));
    if (kind_ == Kind::kPlanned) std::memset(memory.data(), 0, memory.size());
    memory_.push_back(memory);
  }
  return absl::OkStatus();
}

void NumberLinks::listen()
{
  const std::lock_guard lock(mutex_);
  listens_ = true;
  changed_.notify_all();
}

void NumberLinks::set_announcement(const Announcement& mine)
{
  const std::lock_guard lock(mutex_);
  mine_ = mine;
}

absl::Status NumberLinks::announce()
{
  if (!planned()) return absl::OkStatus();
  Announcement mine;
  {
    std::unique_lock lock(mutex_);
    if (said_ != Said::kNothing)
    {
      // Bounded by the call under way, which stop() ends.
      changed_.wait(lock, [&] { return said_ == Said::kDone; });
      return said_status_;
    }
    said_ = Said::kUnderWay;
    mine = mine_;
    changed_.notify_all();
  }
  std::vector<Announcement> heard(size());
  // It may take until the others switch, which has no bound of its own; stop() ends it.
  const absl::Status status =
      all_gather(StepId(), kAnnouncementIndex, object_bytes(mine),
                 {reinterpret_cast<std::byte*>(heard.data()), heard.size() * sizeof(Announcement)});
  const std::lock_guard lock(mutex_);
  said_ = Said::kDone;
  said_status_ = status;
  heard_ = std::move(heard);
  changed_.notify_all();
  return status;
}

absl::Status NumberLinks::all_gather(StepId step, std::uint32_t index, ByteSpan record,
                                     MutableByteSpan records, const comm::CallOptions& options)
{
  if (alone())
  {
    std::copy(record.begin(), record.end(), records.begin());
    return absl::OkStatus();
  }
  const std::lock_guard calls(calls_);
  return group_->all_gather({number_, step, index}, record, records, options);
}

absl::Status NumberLinks::broadcast(StepId step, std::uint32_t index, Rank root, ByteSpan source,
                                    MutableByteSpan result)
{
  if (alone())
  {
    std::copy(source.begin(), source.end(), result.begin());
    return absl::OkStatus();
  }
  const std::lock_guard calls(calls_);
  return group_->broadcast({number_, step, index}, root, source, result, {});
}

absl::Status NumberLinks::sum(StepId step, std::uint32_t index, comm::DType type,
                              ByteSpan contribution, MutableByteSpan result)
{
  if (alone())
  {
    std::copy(contribution.begin(), contribution.end(), result.begin());
    return absl::OkStatus();
  }
  const std::lock_guard calls(calls_);
  return group_->all_reduce({number_, step, index}, type, comm::ReduceOp::kSum, contribution,
                            result, {});
}

absl::StatusOr<MutableByteSpan> NumberLinks::scratch(std::size_t bytes)
{
  if (scratch_.size() < bytes)
  {
    SPILLWAY_ASSIGN_OR_RETURN(scratch_, group_->allocate(bytes));
  }
  return scratch_.subspan(0, bytes);
}

std::vector<WorkerId> NumberLinks::holders() const
{
  const std::lock_guard lock(mutex_);
  std::vector<WorkerId> holders;
  for (std::uint32_t rank = 0; rank < heard_.size(); ++rank)
    if (heard_[rank].switched_from != 0) holders.push_back(members_->members()[rank].worker);
  return holders;
}

void NumberLinks::report_bases()
{
  for (std::uint32_t rank = 0; rank < size(); ++rank)
  {
    const Announcement& said = heard_[rank];
    if (said.switched_from == 0) continue;
    context_.events.on_base(BaseNamed{.number = number_,
                                      .switched_from = Number(said.switched_from),
                                      .base = {Number(said.base_number), StepId(said.base_step)},
                                      .last_step = StepId(said.last_step),
                                      .from = members_->members()[rank].worker});
  }
}

}  // namespace spillway::engine
