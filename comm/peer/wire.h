// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/base/bytes.h"
#include "spillway/base/ids.h"

namespace spillway::comm {

// What is said on a connection of the peer channel. Who connects sends a framed Hello; the answer
// is a framed Reply. Then, by kind:
//   kLink   single bytes: kReady once, when the sender's side of the number is complete, and
//           kGoodbye once, when it leaves. The end of the stream without goodbye is a death.
//   kState  framed RangeQuery from the reader; the donor answers with pieces, each a PieceHeader
//           and its bytes, until the range is complete or a piece carries an error and its text.
//   kProbe  nothing: the reply comes after the peer has connected back to `blob`, with kEcho.
//   kEcho   nothing: the reply is all.
enum class HelloKind : std::uint8_t
{
  kLink = 1,
  kState = 2,
  kProbe = 3,
  kEcho = 4
};

struct Hello
{
  HelloKind kind = HelloKind::kLink;
  Lineage lineage;
  Number number;
  WorkerId from;
  WorkerId to;
  std::string blob;  // kLink: the backend's address; kProbe: the prober's address
};
std::string encode(const Hello& hello);
absl::StatusOr<Hello> decode_hello(ByteSpan bytes);

struct Reply
{
  absl::Status status;
  std::string blob;  // kLink: the backend's address
};
std::string encode(const Reply& reply);
absl::StatusOr<Reply> decode_reply(ByteSpan bytes);

inline constexpr char kReady = 'R';
inline constexpr char kGoodbye = 'G';

struct RangeQuery
{
  StateName name;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};
std::string encode(const RangeQuery& query);
absl::StatusOr<RangeQuery> decode_range_query(ByteSpan bytes);

// Precedes each piece. `hash` is the content hash of its bytes, seeded with their offset in the
// state, so that neither a flipped bit nor a swapped piece goes unnoticed.
struct PieceHeader
{
  std::uint32_t code = 0;  // absl::StatusCode; not OK: the bytes are its message
  std::uint32_t bytes = 0;
  std::uint64_t hash = 0;
};
inline constexpr std::size_t kPieceBytes = 1 << 20;

}  // namespace spillway::comm
