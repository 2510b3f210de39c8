// SPDX-License-Identifier: Apache-2.0
// Format, version 2, all numbers little-endian:
//   u32 magic, u32 version, then the fields of JobFile in the order of the struct, u8 whether a
//   record follows and its bytes as a text, u64 hash of all before. Lists are a u32 count and their
//   entries, an optional is a u8 and the value, durations are i64 nanoseconds.
#include "service/job_file.h"

#include "spillway/base/hash.h"

namespace spillway::coordinator {
namespace {

constexpr std::uint32_t kMagic = 0x66776c53;
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kMostEntries = 1 << 20;

void put(ByteWriter& out, const JobOptions& options)
{
  out.number(options.nodes_min);
  out.number(options.nodes_max);
  out.number(options.workers_min);
  out.number(options.workers_max);
  out.number(std::int64_t{options.lease.count()});
  out.number(std::int64_t{options.join_timeout.count()});
  out.number(std::int64_t{options.last_call.count()});
}

void put(ByteWriter& out, const JobSpec& spec)
{
  out.number(static_cast<std::uint32_t>(spec.tensors.size()));
  for (const TensorSpec& tensor : spec.tensors)
  {
    out.text(tensor.name);
    out.text(tensor.type);
    out.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::int64_t size : tensor.shape) out.number(size);
  }
  out.number(static_cast<std::uint32_t>(spec.terms.size()));
  for (const std::string& term : spec.terms) out.text(term);
  out.number(spec.hash);
  out.number(spec.global_batch);
  out.number(spec.data_set_size);
  out.text(spec.arithmetic_class);
}

void put(ByteWriter& out, const KeptNode& node)
{
  out.number(node.node.value());
  out.number(node.session);
  out.text(node.host);
  out.text(node.address);
  out.number(node.master_port);
  out.number(node.slots);
  out.number(node.round);
}

void put(ByteWriter& out, const Rendezvous& round)
{
  out.number(round.round);
  out.number(static_cast<std::uint32_t>(round.nodes.size()));
  for (const Rendezvous::Node& node : round.nodes)
  {
    out.number(node.node.value());
    out.text(node.address);
    out.number(node.master_port);
    out.number(node.slots);
  }
}

template <typename T>
void put_optional(ByteWriter& out, const std::optional<T>& value)
{
  out.number(static_cast<std::uint8_t>(value.has_value()));
  if (value) put(out, *value);
}

// Reads fields and remembers the first thing that was wrong.
class Fields
{
 public:
  explicit Fields(ByteSpan bytes) : reader_(bytes) {}
  const absl::Status& status() const { return status_; }
  bool ok() const { return status_.ok(); }
  void fail(absl::string_view why)
  {
    if (ok()) status_ = absl::DataLossError(why);
  }
  std::size_t remaining_bytes() const { return reader_.remaining_bytes(); }

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
  Duration duration() { return Duration(number<std::int64_t>()); }
  bool flag() { return number<std::uint8_t>() != 0; }
  std::string text() { return take(reader_.text()); }
  std::uint32_t count()
  {
    const auto value = number<std::uint32_t>();
    if (value > kMostEntries) fail("a list is longer than any job's");
    return ok() ? value : 0;
  }

 private:
  template <typename T>
  T take(absl::StatusOr<T> value)
  {
    if (value.ok() && ok()) return *std::move(value);
    if (ok()) status_ = value.status();
    return T{};
  }
  ByteReader reader_;
  absl::Status status_;
};

JobOptions read_options(Fields& in)
{
  JobOptions options;
  options.nodes_min = in.number<std::uint32_t>();
  options.nodes_max = in.number<std::uint32_t>();
  options.workers_min = in.number<std::uint32_t>();
  options.workers_max = in.number<std::uint32_t>();
  options.lease = in.duration();
  options.join_timeout = in.duration();
  options.last_call = in.duration();
  if (options.workers_min == 0 || options.workers_min > options.workers_max)
    in.fail("the worker counts are no range");
  return options;
}

JobSpec read_spec(Fields& in)
{
  JobSpec spec;
  for (std::uint32_t n = in.count(); n > 0 && in.ok(); --n)
  {
    TensorSpec tensor;
    tensor.name = in.text();
    tensor.type = in.text();
    for (std::uint32_t d = in.count(); d > 0 && in.ok(); --d)
      tensor.shape.push_back(in.number<std::int64_t>());
    spec.tensors.push_back(std::move(tensor));
  }
  for (std::uint32_t n = in.count(); n > 0 && in.ok(); --n) spec.terms.push_back(in.text());
  spec.hash = in.number<std::uint64_t>();
  spec.global_batch = in.number<std::uint64_t>();
  spec.data_set_size = in.number<std::uint64_t>();
  spec.arithmetic_class = in.text();
  return spec;
}

KeptNode read_node(Fields& in)
{
  KeptNode node;
  node.node = in.id<NodeId>();
  node.session = in.number<std::uint64_t>();
  node.host = in.text();
  node.address = in.text();
  node.master_port = in.number<std::uint32_t>();
  node.slots = in.number<std::uint32_t>();
  node.round = in.number<std::uint64_t>();
  return node;
}

Rendezvous read_round(Fields& in)
{
  Rendezvous round;
  round.round = in.number<std::uint64_t>();
  for (std::uint32_t n = in.count(); n > 0 && in.ok(); --n)
  {
    Rendezvous::Node node;
    node.node = in.id<NodeId>();
    node.address = in.text();
    node.master_port = in.number<std::uint32_t>();
    node.slots = in.number<std::uint32_t>();
    round.nodes.push_back(std::move(node));
  }
  return round;
}

JobFile read_file(Fields& in)
{
  JobFile file;
  if (in.flag()) file.options = read_options(in);
  if (in.flag()) file.spec = read_spec(in);
  file.spec_owner = in.id<WorkerId>();
  file.next_node = in.id<NodeId>();
  for (std::uint32_t n = in.count(); n > 0 && in.ok(); --n)
  {
    KeptNode node = read_node(in);
    if (node.node >= file.next_node) in.fail("a node has an id that was never given");
    const NodeId id = node.node;
    file.nodes[id] = std::move(node);
  }
  file.round = read_round(in);
  file.exit.exit_code = in.number<std::int32_t>();
  file.exit.signal = in.number<std::int32_t>();
  file.exit.last_words = in.text();
  return file;
}

}  // namespace

std::string encode_job(const JobFile& file, const JobRecord* record)
{
  ByteWriter out;
  out.number(kMagic);
  out.number(kVersion);
  put_optional(out, file.options);
  put_optional(out, file.spec);
  out.number(file.spec_owner.value());
  out.number(file.next_node.value());
  out.number(static_cast<std::uint32_t>(file.nodes.size()));
  for (const auto& [id, node] : file.nodes) put(out, node);
  put(out, file.round);
  out.number(std::int32_t{file.exit.exit_code});
  out.number(std::int32_t{file.exit.signal});
  out.text(file.exit.last_words);
  out.number(static_cast<std::uint8_t>(record != nullptr));
  if (record != nullptr) out.text(record->encode());
  out.number(content_hash(as_bytes(out.str())));
  return out.take();
}

absl::StatusOr<StoredJob> decode_job(const std::string& job, ByteSpan bytes)
{
  const auto damaged = [&](absl::string_view why) {
    return absl::DataLossError(absl::StrCat(
        "job ", job, ": its record in the store is not usable (", why,
        "): restore the store's file from a copy, or start with an empty store and say "
        "`spillway adopt`"));
  };
  constexpr std::size_t kHashBytes = sizeof(std::uint64_t);
  if (bytes.size() < kHashBytes) return damaged("it ends early");
  const ByteSpan content = bytes.subspan(0, bytes.size() - kHashBytes);
  Fields in(content);
  if (in.number<std::uint32_t>() != kMagic) in.fail("these bytes are no job");
  if (in.number<std::uint32_t>() != kVersion)
    in.fail("it was written by another version of Spillway; use that one");
  if (!in.ok()) return damaged(in.status().message());
  Fields hash(bytes.subspan(content.size()));
  if (hash.number<std::uint64_t>() != content_hash(content)) return damaged("its hash differs");
  StoredJob stored{.file = read_file(in), .record = std::nullopt};
  const bool has_record = in.flag();
  if (has_record != stored.file.options.has_value()) in.fail("options and record are not a pair");
  const std::string record_bytes = has_record ? in.text() : std::string();
  if (in.remaining_bytes() > 0) in.fail("bytes follow the record");
  if (!in.ok()) return damaged(in.status().message());
  if (has_record)
  {
    absl::StatusOr<JobRecord> record = JobRecord::decode(as_bytes(record_bytes));
    if (!record.ok()) return damaged(record.status().message());
    stored.record = *std::move(record);
  }
  return stored;
}

}  // namespace spillway::coordinator
