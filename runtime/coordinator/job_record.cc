// SPDX-License-Identifier: Apache-2.0
// Format, version 1, all numbers little-endian:
//   u32 magic, u32 version, then the fields of JobRecord in the order of the struct; an id is u64,
//   a list of workers u32 count and ids, an optional u8 and the value, a map u32 count and entries,
//   a text u32 length and bytes.
// What stands behind the last field is not ours: a longer record is refused.
#include "spillway/coordinator/job_record.h"

#include <algorithm>

namespace spillway {
namespace {

constexpr std::uint32_t kMagic = 0x4a6c7053;
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kMostEntries = 1 << 24;

void put(ByteWriter& out, const std::vector<WorkerId>& workers)
{
  out.number(static_cast<std::uint32_t>(workers.size()));
  for (WorkerId worker : workers) out.number(worker.value());
}

void put(ByteWriter& out, const MemberList& list)
{
  out.number(static_cast<std::uint32_t>(list.size()));
  for (const MemberInfo& member : list.members())
  {
    out.number(member.worker.value());
    out.number(member.node.value());
    out.number(member.site.value());
    out.text(member.address.str());
    out.number(member.weight);
  }
}

void put(ByteWriter& out, const NumberRecord& content)
{
  out.number(static_cast<std::uint8_t>(content.kind));
  put(out, *content.members);
  put(out, content.copiers);
  out.number(static_cast<std::uint8_t>(content.base.has_value()));
  if (content.base)
  {
    out.number(content.base->number.value());
    out.number(content.base->step.value());
  }
  out.number(static_cast<std::uint8_t>(content.initial));
  out.number(content.last_step.value());
  out.number(content.switched_from.value());
}

// Reads fields and remembers the first thing that was wrong, so that the callers stay readable.
class Fields
{
 public:
  explicit Fields(ByteSpan bytes) : reader_(bytes) {}
  const absl::Status& status() const { return status_; }

  template <typename T>
  T number()
  {
    return take(reader_.number<T>());
  }
  template <typename Id>
  Id id()
  {
    return Id(number<typename Id::value_type>());
  }
  bool flag() { return number<std::uint8_t>() != 0; }
  std::string text() { return take(reader_.text()); }
  std::uint32_t count()
  {
    const auto value = number<std::uint32_t>();
    if (value > kMostEntries) fail("a list is longer than any job's");
    return status_.ok() ? value : 0;
  }
  std::vector<WorkerId> workers()
  {
    std::vector<WorkerId> out;
    for (std::uint32_t n = count(); n > 0 && status_.ok(); --n) out.push_back(id<WorkerId>());
    if (!std::is_sorted(out.begin(), out.end())) fail("a list of workers is not ascending");
    return out;
  }
  MemberListPtr members()
  {
    std::vector<MemberInfo> out;
    for (std::uint32_t n = count(); n > 0 && status_.ok(); --n)
    {
      MemberInfo member;
      member.worker = id<WorkerId>();
      member.node = id<NodeId>();
      member.site = id<SiteId>();
      member.address = text();
      member.weight = number<std::uint32_t>();
      if (!out.empty() && !(out.back().worker < member.worker))
        fail("a member list is not ascending");
      if (status_.ok()) out.push_back(std::move(member));
    }
    return MemberList::make(std::move(out));
  }
  NumberRecord content()
  {
    NumberRecord out;
    const auto kind = number<std::uint8_t>();
    if (kind > static_cast<std::uint8_t>(NumberRecord::Kind::kPlanned)) fail("unknown kind");
    out.kind = static_cast<NumberRecord::Kind>(kind);
    out.members = members();
    out.copiers = workers();
    if (flag())
    {
      const Number number = id<Number>();
      out.base = StateName{number, id<StepId>()};
    }
    out.initial = flag();
    out.last_step = id<StepId>();
    out.switched_from = id<Number>();
    return out;
  }
  void fail(absl::string_view why)
  {
    if (status_.ok()) status_ = absl::DataLossError(why);
  }
  std::size_t remaining_bytes() const { return reader_.remaining_bytes(); }

 private:
  template <typename T>
  T take(absl::StatusOr<T> value)
  {
    if (value.ok() && status_.ok()) return *std::move(value);
    if (status_.ok()) status_ = value.status();
    return T{};
  }
  ByteReader reader_;
  absl::Status status_;
};

JobRecord read_record(Fields& in)
{
  JobRecord record;
  record.lineage = in.id<Lineage>();
  record.next_worker = in.id<WorkerId>();
  record.last_number = in.id<Number>();
  record.open_abort = in.id<Number>();
  record.newest = in.id<Number>();
  record.pending = in.id<Number>();
  for (std::uint32_t n = in.count(); n > 0 && in.status().ok(); --n)
  {
    const Number number = in.id<Number>();
    record.numbers[number] = in.content();
  }
  record.holders = in.workers();
  record.absent = in.workers();
  record.released = in.workers();
  record.stepped = in.flag();
  const auto ended = in.number<std::uint8_t>();
  if (ended > static_cast<std::uint8_t>(EndReason::kStopped)) in.fail("unknown end of a job");
  record.ended = static_cast<EndReason>(ended);
  record.end_detail = in.text();
  return record;
}

void check_consistent(const JobRecord& record, Fields& in)
{
  if (record.newest && !record.numbers.contains(record.newest))
    in.fail("the newest number has no content");
  if (record.pending && !record.numbers.contains(record.pending))
    in.fail("the pending number has no content");
  for (const auto& [number, content] : record.numbers)
    if (number > record.last_number || number < record.newest)
      in.fail("a number is outside the range that was ever given");
  if (in.remaining_bytes() > 0) in.fail("bytes follow the record");
}

}  // namespace

std::string JobRecord::encode() const
{
  ByteWriter out;
  out.number(kMagic);
  out.number(kVersion);
  out.number(lineage.value());
  out.number(next_worker.value());
  out.number(last_number.value());
  out.number(open_abort.value());
  out.number(newest.value());
  out.number(pending.value());
  out.number(static_cast<std::uint32_t>(numbers.size()));
  for (const auto& [number, content] : numbers)
  {
    out.number(number.value());
    put(out, content);
  }
  put(out, holders);
  put(out, absent);
  put(out, released);
  out.number(static_cast<std::uint8_t>(stepped));
  out.number(static_cast<std::uint8_t>(ended));
  out.text(end_detail);
  return out.take();
}

absl::StatusOr<JobRecord> JobRecord::decode(ByteSpan bytes)
{
  Fields in(bytes);
  if (in.number<std::uint32_t>() != kMagic) in.fail("these bytes are no job record");
  if (in.number<std::uint32_t>() != kVersion)
    in.fail("the record was written by another version of Spillway; use that one");
  JobRecord record = read_record(in);
  if (in.status().ok()) check_consistent(record, in);
  if (!in.status().ok())
    return absl::DataLossError(absl::StrCat(
        "the job record is not usable (", in.status().message(),
        "): restore the store's file from a copy, or start with an empty store and say "
        "`spillway adopt`"));
  return record;
}

}  // namespace spillway
