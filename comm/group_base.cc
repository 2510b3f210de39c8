// SPDX-License-Identifier: Apache-2.0
#include "group_base.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spillway/base/check.h"
#include "spillway/base/status.h"

namespace spillway::comm {

std::string describe(const Signature& signature)
{
  const bool typed = signature.collective == Collective::kAllReduce ||
                     signature.collective == Collective::kReduceScatter;
  std::string text = absl::StrCat("call ", signature.call, " ", name_of(signature.collective));
  if (typed) absl::StrAppend(&text, " ", name_of(signature.dtype), " ", name_of(signature.op));
  if (signature.collective == Collective::kBroadcast)
    absl::StrAppend(&text, " from rank ", static_cast<int>(signature.root));
  absl::StrAppend(&text, " of ", signature.bytes, " bytes named (epoch ", signature.epoch,
                  ", step ", signature.step, ", index ", signature.index, ")");
  return text;
}

GroupBase::GroupBase(GroupParts parts) : parts_(std::move(parts)) {}

GroupBase::~GroupBase()
{
  for (const Region& region : regions_) munmap(region.begin, region.bytes);
}

absl::StatusOr<MutableByteSpan> GroupBase::allocate(std::size_t bytes)
{
  if (bytes == 0) return MutableByteSpan();
  constexpr std::size_t kPage = 4096;
  const std::size_t mapped = (bytes + kPage - 1) / kPage * kPage;
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return absl::ResourceExhaustedError(
        absl::StrCat("number ", number().value(), ": ", bytes,
                     " bytes for contributions: ", std::strerror(errno)));
  const std::lock_guard lock(memory_mutex_);
  regions_.push_back(Region{static_cast<std::byte*>(memory), mapped});
  return MutableByteSpan(static_cast<std::byte*>(memory), bytes);
}

bool GroupBase::owns(ByteSpan span) const
{
  const std::lock_guard lock(memory_mutex_);
  return std::any_of(regions_.begin(), regions_.end(), [&](const Region& region) {
    return span.data() >= region.begin && span.data() + span.size() <= region.begin + region.bytes;
  });
}

bool GroupBase::touches(ByteSpan span) const
{
  const std::lock_guard lock(memory_mutex_);
  return std::any_of(regions_.begin(), regions_.end(), [&](const Region& region) {
    return span.data() < region.begin + region.bytes && span.data() + span.size() > region.begin;
  });
}

std::string GroupBase::who(std::uint32_t rank) const
{
  return absl::StrCat("rank ", rank, " (worker ", member(rank).worker.value(), " at ",
                      member(rank).address, ")");
}

std::string GroupBase::what(const Call& call) const
{
  return absl::StrCat("number ", number().value(), ", rank ", rank().value(), ", ",
                      describe(call.signature));
}

absl::Status GroupBase::ended_by_news(const Call& call) const
{
  if (parts_.abort->covers(number()))
    return absl::AbortedError(absl::StrCat(what(call), ": ended by the abort up to number ",
                                           parts_.abort->value().value()));
  if (parts_.links->any_lost())
    return absl::UnavailableError(
        absl::StrCat(what(call), ": worker ", parts_.links->lost_worker().value(), " died"));
  return absl::OkStatus();
}

absl::Status GroupBase::interrupted(const Call& call,
                                    const std::vector<std::uint32_t>& missing) const
{
  SPILLWAY_RETURN_IF_ERROR(ended_by_news(call));
  if (now() < call.deadline) return absl::OkStatus();
  if (call.options->on_deadline)
  {
    std::vector<WorkerId> workers;
    for (const std::uint32_t rank : missing) workers.push_back(member(rank).worker);
    call.deadline = std::max(call.deadline, call.options->on_deadline(workers));
    if (now() < call.deadline) return absl::OkStatus();
  }
  return absl::DeadlineExceededError(
      absl::StrCat(what(call), ": no answer in time from ",
                   absl::StrJoin(missing, ", ", [&](std::string* out, std::uint32_t rank) {
                     absl::StrAppend(out, who(rank));
                   })));
}

absl::Status GroupBase::compare(const Call& call, std::uint32_t rank, const Signature& theirs) const
{
  if (theirs == call.signature) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("number ", number().value(), ": members call different collectives: ", who(rank),
                   " ", describe(theirs), ", but rank ", this->rank().value(), " (this worker) ",
                   describe(call.signature)));
}

Signature GroupBase::sign(const OpName& name, Collective collective) const
{
  return Signature{.epoch = name.epoch.value(),
                   .step = name.step.value(),
                   .index = name.index,
                   .collective = collective};
}

absl::Status GroupBase::check_reduction(DType dtype, ByteSpan contribution,
                                        std::uint64_t result_bytes, MutableByteSpan result) const
{
  const std::size_t element = size_bytes(dtype);
  if (contribution.size() % element != 0)
    return absl::InvalidArgumentError(absl::StrCat("a contribution of ", contribution.size(),
                                                   " bytes is no whole number of ", name_of(dtype),
                                                   " elements"));
  if (result.size() != result_bytes)
    return absl::InvalidArgumentError(
        absl::StrCat("the result has ", result.size(), " bytes, it must have ", result_bytes));
  if (!contribution.empty() && !owns(contribution))
    return absl::InvalidArgumentError(
        "the contribution does not lie in memory of this group: use Group::allocate of the group "
        "of this number");
  return absl::OkStatus();
}

absl::Status GroupBase::all_reduce(const OpName& name, DType dtype, ReduceOp op,
                                   ByteSpan contribution, MutableByteSpan result,
                                   const CallOptions& options)
{
  SPILLWAY_RETURN_IF_ERROR(check_reduction(dtype, contribution, contribution.size(), result));
  Signature signature = sign(name, Collective::kAllReduce);
  signature.dtype = dtype;
  signature.op = op;
  signature.bytes = contribution.size();
  return start(Call{signature, contribution, result, &options, options.deadline});
}

absl::Status GroupBase::reduce_scatter(const OpName& name, DType dtype, ReduceOp op,
                                       ByteSpan contribution, MutableByteSpan result,
                                       const CallOptions& options)
{
  const std::size_t element = size_bytes(dtype);
  const ShardRange own = shard_range(contribution.size() / element, size(), rank());
  SPILLWAY_RETURN_IF_ERROR(check_reduction(dtype, contribution, own.count() * element, result));
  Signature signature = sign(name, Collective::kReduceScatter);
  signature.dtype = dtype;
  signature.op = op;
  signature.bytes = contribution.size();
  return start(Call{signature, contribution, result, &options, options.deadline});
}

absl::Status GroupBase::all_gather(const OpName& name, ByteSpan record, MutableByteSpan results,
                                   const CallOptions& options)
{
  if (results.size() != record.size() * size())
    return absl::InvalidArgumentError(absl::StrCat("the results have ", results.size(), " bytes, ",
                                                   size(), " records of ", record.size(),
                                                   " bytes need ", record.size() * size()));
  Signature signature = sign(name, Collective::kAllGather);
  signature.bytes = record.size();
  return start(Call{signature, record, results, &options, options.deadline});
}

absl::Status GroupBase::broadcast(const OpName& name, Rank root, ByteSpan source,
                                  MutableByteSpan result, const CallOptions& options)
{
  if (root.value() >= size())
    return absl::InvalidArgumentError(
        absl::StrCat("the root has rank ", root.value(), " of ", size(), " members"));
  if (root == rank() && source.size() != result.size())
    return absl::InvalidArgumentError(
        absl::StrCat("the source has ", source.size(), " bytes, the result ", result.size()));
  Signature signature = sign(name, Collective::kBroadcast);
  signature.bytes = result.size();
  signature.root = static_cast<std::uint8_t>(root.value());
  return start(
      Call{signature, root == rank() ? source : ByteSpan(), result, &options, options.deadline});
}

absl::Status GroupBase::start(Call call)
{
  SPILLWAY_CHECK(!busy_.exchange(true), "two collectives at a time in number ", number().value());
  absl::Status status = failure_;
  if (status.ok() && !call.result.empty() && touches(call.result))
  {
    busy_.store(false);
    return absl::InvalidArgumentError(
        "the result lies in memory of the group, which goes with its number: in-place reductions "
        "are not possible");
  }
  if (status.ok())
  {
    const Signature& named = call.signature;
    const std::uint64_t sequence =
        parts_.recorder->started(OpName{Number(named.epoch), StepId(named.step), named.index},
                                 named.collective, named.dtype, named.bytes);
    call.signature.call = ++calls_;
    // Not the deadline: only the first wait can tell whom it is that the call lacks.
    status = ended_by_news(call);
    if (status.ok()) status = run(call);
    parts_.recorder->ended(sequence, status.ok() ? FlightState::kDone : FlightState::kAborted);
    failure_ = status;
  }
  busy_.store(false);
  return status;
}

}  // namespace spillway::comm
