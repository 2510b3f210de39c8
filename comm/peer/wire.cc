// SPDX-License-Identifier: Apache-2.0
#include "wire.h"

#include "absl/strings/str_cat.h"
#include "spillway/base/status.h"

namespace spillway::comm {
namespace {

constexpr std::uint32_t kMagic = 0x31505753;  // "SWP1"
constexpr std::uint32_t kWireVersion = 1;

absl::StatusOr<Number> read_number(ByteReader& reader)
{
  SPILLWAY_ASSIGN_OR_RETURN(const std::uint64_t value, reader.number<std::uint64_t>());
  return Number(value);
}

}  // namespace

std::string encode(const Hello& hello)
{
  ByteWriter writer;
  writer.number(kMagic);
  writer.number(kWireVersion);
  writer.number(static_cast<std::uint8_t>(hello.kind));
  writer.number(hello.lineage.value());
  writer.number(hello.number.value());
  writer.number(hello.from.value());
  writer.number(hello.to.value());
  writer.text(hello.blob);
  return writer.take();
}

absl::StatusOr<Hello> decode_hello(ByteSpan bytes)
{
  ByteReader reader(bytes);
  SPILLWAY_ASSIGN_OR_RETURN(const auto magic, reader.number<std::uint32_t>());
  if (magic != kMagic)
    return absl::DataLossError("the connection does not speak the peer protocol");
  SPILLWAY_ASSIGN_OR_RETURN(const auto version, reader.number<std::uint32_t>());
  if (version != kWireVersion)
    return absl::FailedPreconditionError(absl::StrCat("the peer speaks version ", version,
                                                      " of the peer protocol, this process ",
                                                      kWireVersion, ": run the same build"));
  Hello hello;
  SPILLWAY_ASSIGN_OR_RETURN(const auto kind, reader.number<std::uint8_t>());
  if (kind < 1 || kind > 4) return absl::DataLossError(absl::StrCat("unknown hello kind ", kind));
  hello.kind = static_cast<HelloKind>(kind);
  SPILLWAY_ASSIGN_OR_RETURN(const auto lineage, reader.number<std::uint64_t>());
  hello.lineage = Lineage(lineage);
  SPILLWAY_ASSIGN_OR_RETURN(hello.number, read_number(reader));
  SPILLWAY_ASSIGN_OR_RETURN(const auto from, reader.number<std::uint64_t>());
  SPILLWAY_ASSIGN_OR_RETURN(const auto to, reader.number<std::uint64_t>());
  hello.from = WorkerId(from);
  hello.to = WorkerId(to);
  SPILLWAY_ASSIGN_OR_RETURN(hello.blob, reader.text());
  return hello;
}

std::string encode(const Reply& reply)
{
  ByteWriter writer;
  writer.number(static_cast<std::uint32_t>(reply.status.code()));
  writer.text(reply.status.message());
  writer.text(reply.blob);
  return writer.take();
}

absl::StatusOr<Reply> decode_reply(ByteSpan bytes)
{
  ByteReader reader(bytes);
  SPILLWAY_ASSIGN_OR_RETURN(const auto code, reader.number<std::uint32_t>());
  SPILLWAY_ASSIGN_OR_RETURN(const std::string message, reader.text());
  Reply reply;
  reply.status = absl::Status(static_cast<absl::StatusCode>(code), message);
  SPILLWAY_ASSIGN_OR_RETURN(reply.blob, reader.text());
  return reply;
}

std::string encode(const RangeQuery& query)
{
  ByteWriter writer;
  writer.number(query.name.number.value());
  writer.number(query.name.step.value());
  writer.number(query.offset);
  writer.number(query.bytes);
  return writer.take();
}

absl::StatusOr<RangeQuery> decode_range_query(ByteSpan bytes)
{
  ByteReader reader(bytes);
  RangeQuery query;
  SPILLWAY_ASSIGN_OR_RETURN(query.name.number, read_number(reader));
  SPILLWAY_ASSIGN_OR_RETURN(const auto step, reader.number<std::uint64_t>());
  query.name.step = StepId(step);
  SPILLWAY_ASSIGN_OR_RETURN(query.offset, reader.number<std::uint64_t>());
  SPILLWAY_ASSIGN_OR_RETURN(query.bytes, reader.number<std::uint64_t>());
  return query;
}

}  // namespace spillway::comm
