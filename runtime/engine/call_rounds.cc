// SPDX-License-Identifier: Apache-2.0
#include "call_rounds.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "spillway/base/bytes.h"
#include "spillway/base/hash.h"
#include "spillway/base/status.h"

namespace spillway::engine {
namespace {

constexpr std::uint64_t kNoCall = ~std::uint64_t{0};
constexpr std::uint32_t kPositionIndex = 0xffffffe0;
constexpr std::uint32_t kSizeIndex = 0xffffffe1;
constexpr std::uint32_t kValueIndex = 0xffffffe2;

MutableByteSpan span_of(std::string& text)
{
  return {reinterpret_cast<std::byte*>(text.data()), text.size()};
}

std::string encode(const std::vector<std::string>& values)
{
  ByteWriter writer;
  writer.number(static_cast<std::uint32_t>(values.size()));
  for (const std::string& value : values) writer.text(value);
  return writer.take();
}

absl::StatusOr<std::vector<std::string>> decode(absl::string_view bytes)
{
  ByteReader reader(as_bytes(bytes));
  SPILLWAY_ASSIGN_OR_RETURN(const std::uint32_t count, reader.number<std::uint32_t>());
  std::vector<std::string> values;
  for (std::uint32_t i = 0; i < count; ++i)
  {
    SPILLWAY_ASSIGN_OR_RETURN(std::string value, reader.text());
    values.push_back(std::move(value));
  }
  return values;
}

}  // namespace

// Where a member is. Plain bytes.
struct CallRounds::Position
{
  std::uint64_t holds = 0;
  std::uint64_t wants = kNoCall;  // the call it waits for
  std::uint64_t completed = 0;    // calls that it has the results of
  std::uint32_t kind = 0;
  std::uint32_t type = 0;
  std::uint64_t bytes = 0;
  std::uint64_t sharers = 0;
};

std::uint64_t hash_of_sharers(const std::vector<WorkerId>& workers)
{
  std::uint64_t hash = workers.size();
  for (const WorkerId worker : workers) hash = hash_combine(hash, worker.value());
  return std::max<std::uint64_t>(hash, 1);
}

void CallRounds::reset(StepId after)
{
  after_ = after;
  results_.clear();
}

absl::StatusOr<std::vector<std::string>> CallRounds::call(NumberLinks& links, const UserCall& call)
{
  const std::size_t index = results_.size();
  SPILLWAY_RETURN_IF_ERROR(rounds(links, after_.next(), true, &call));
  return results_[index];
}

absl::Status CallRounds::gate(NumberLinks& links, StepId next, bool holds)
{
  return rounds(links, next, holds && after_.next() == next, nullptr);
}

absl::Status CallRounds::rounds(NumberLinks& links, StepId next, bool holds, const UserCall* call)
{
  while (true)
  {
    Position mine{.holds = holds ? 1u : 0u};
    if (holds) mine.completed = results_.size();
    if (call != nullptr)
    {
      mine.wants = results_.size();
      mine.kind = static_cast<std::uint32_t>(call->kind);
      mine.type = static_cast<std::uint32_t>(call->type);
      mine.bytes = call->value.size();
      mine.sharers = call->sharers;
    }
    std::vector<Position> all(links.size(), mine);
    SPILLWAY_RETURN_IF_ERROR(links.all_gather(
        next, kPositionIndex, object_bytes(mine),
        {reinterpret_cast<std::byte*>(all.data()), all.size() * sizeof(Position)}));
    std::uint64_t index = kNoCall;
    std::uint32_t supplier = links.size();
    for (const Position& position : all)
      if (position.holds != 0) index = std::min(index, position.wants);
    if (index == kNoCall) return absl::OkStatus();
    for (std::uint32_t rank = 0; rank < links.size() && supplier == links.size(); ++rank)
      if (all[rank].holds != 0 && all[rank].completed > index) supplier = rank;
    const bool wanted = call != nullptr && mine.wants == index;
    if (supplier == links.size() && !shares_fit(links, all, index))
    {
      if (!wanted) continue;
      return absl::OutOfRangeError(absl::StrCat("other workers make collective ", index,
                                                " after step ", after_.value(),
                                                " than this one's share is for"));
    }
    SPILLWAY_RETURN_IF_ERROR(check(links, all, index));
    std::vector<std::string> result;
    if (supplier < links.size())
      SPILLWAY_RETURN_IF_ERROR(supply(links, next, index, supplier, result));
    else
      SPILLWAY_RETURN_IF_ERROR(gather(links, next, all, index, wanted ? call : nullptr, result));
    if (!wanted) continue;
    results_.push_back(std::move(result));
    return absl::OkStatus();
  }
}

// Whether all who want this call computed their shares for those who hold the step here.
bool CallRounds::shares_fit(const NumberLinks& links, const std::vector<Position>& all,
                            std::uint64_t index)
{
  sharers_.clear();
  for (std::uint32_t rank = 0; rank < links.size(); ++rank)
    if (all[rank].holds != 0) sharers_.push_back(links.members().members()[rank].worker);
  const std::uint64_t here = hash_of_sharers(sharers_);
  return std::all_of(all.begin(), all.end(), [&](const Position& one) {
    return one.holds == 0 || one.wants != index || one.sharers == 0 || one.sharers == here;
  });
}

// All who want this call must mean the same.
absl::Status CallRounds::check(const NumberLinks& links, const std::vector<Position>& all,
                               std::uint64_t index) const
{
  std::uint32_t first = links.size();
  for (std::uint32_t rank = 0; rank < links.size(); ++rank)
  {
    const Position& one = all[rank];
    if (one.holds == 0 || one.completed > index) continue;
    if (one.wants != index)
      return absl::FailedPreconditionError(absl::StrCat(
          "number ", links.number().value(), ": collective ", index, " after step ", after_.value(),
          " is not called by worker ", links.members().members()[rank].worker.value(),
          ": every member calls the same collectives in the same order between two steps"));
    if (first == links.size()) first = rank;
    const Position& other = all[first];
    const bool sums = one.kind == static_cast<std::uint32_t>(UserCall::Kind::kSum);
    if (one.kind != other.kind || (sums && (one.type != other.type || one.bytes != other.bytes)))
      return absl::FailedPreconditionError(absl::StrCat(
          "number ", links.number().value(), ": collective ", index, " after step ", after_.value(),
          " differs between workers ", links.members().members()[first].worker.value(), " and ",
          links.members().members()[rank].worker.value(), " in kind, element type or size"));
  }
  return absl::OkStatus();
}

// Somebody had the result before the number changed.
absl::Status CallRounds::supply(NumberLinks& links, StepId next, std::uint64_t index,
                                std::uint32_t supplier, std::vector<std::string>& result)
{
  std::string bytes;
  const bool mine = supplier == links.rank().value();
  if (mine) bytes = encode(results_[index]);
  std::uint64_t size = bytes.size();
  std::vector<std::uint64_t> sizes(links.size(), size);
  SPILLWAY_RETURN_IF_ERROR(
      links.all_gather(next, kSizeIndex, object_bytes(size),
                       {reinterpret_cast<std::byte*>(sizes.data()), sizes.size() * sizeof(size)}));
  std::string received(sizes[supplier], '\0');
  SPILLWAY_RETURN_IF_ERROR(
      links.broadcast(next, kValueIndex, Rank(supplier), as_bytes(bytes), span_of(received)));
  SPILLWAY_ASSIGN_OR_RETURN(result, decode(received));
  return absl::OkStatus();
}

absl::Status CallRounds::gather(NumberLinks& links, StepId next, const std::vector<Position>& all,
                                std::uint64_t index, const UserCall* call,
                                std::vector<std::string>& result)
{
  std::uint64_t widest = 0;
  const Position* shape = nullptr;
  for (const Position& position : all)
  {
    if (position.holds == 0 || position.wants != index) continue;
    widest = std::max(widest, position.bytes);
    shape = &position;
  }
  if (shape->kind == static_cast<std::uint32_t>(UserCall::Kind::kSum))
    return sum(links, next, *shape, call, result);
  std::string record = call != nullptr ? call->value : "";
  record.resize(widest);
  std::string records(widest * links.size(), '\0');
  if (links.alone()) records = record;
  SPILLWAY_RETURN_IF_ERROR(links.all_gather(next, kValueIndex, as_bytes(record), span_of(records)));
  for (std::uint32_t rank = 0; rank < links.size(); ++rank)
    if (all[rank].holds != 0) result.push_back(records.substr(rank * widest, all[rank].bytes));
  return absl::OkStatus();
}

absl::Status CallRounds::sum(NumberLinks& links, StepId next, const Position& shape,
                             const UserCall* call, std::vector<std::string>& result)
{
  result.emplace_back(shape.bytes, '\0');
  if (links.alone())
  {
    result[0] = call->value;
    return absl::OkStatus();
  }
  SPILLWAY_ASSIGN_OR_RETURN(const MutableByteSpan memory, links.scratch(shape.bytes));
  if (!memory.empty())
  {
    if (call != nullptr)
      std::memcpy(memory.data(), call->value.data(), memory.size());
    else
      std::memset(memory.data(), 0, memory.size());
  }
  return links.sum(next, kValueIndex, static_cast<comm::DType>(shape.type), memory,
                   span_of(result[0]));
}

}  // namespace spillway::engine
