// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "spillway/base/hash.h"
#include "spillway/base/status.h"
#include "state_server.h"

namespace spillway::comm {
namespace {

absl::StatusOr<Fd> greet(const Member& peer, const Hello& hello, const CallBounds& bounds,
                         absl::string_view doing)
{
  SPILLWAY_ASSIGN_OR_RETURN(Fd fd, connect_to(peer.address, bounds));
  SPILLWAY_RETURN_IF_ERROR(send_all(fd.get(), as_bytes(framed(encode(hello))), bounds, doing));
  SPILLWAY_ASSIGN_OR_RETURN(const std::string payload, receive_frame(fd.get(), bounds, doing));
  SPILLWAY_ASSIGN_OR_RETURN(const Reply reply, decode_reply(as_bytes(payload)));
  SPILLWAY_RETURN_IF_ERROR(reply.status);
  return fd;
}

absl::Status read_pieces(int fd, const RangeRequest& request, MutableByteSpan destination,
                         const CallBounds& bounds)
{
  constexpr absl::string_view kDoing = "read state";
  std::uint64_t offset = request.offset;
  while (!destination.empty())
  {
    PieceHeader header;
    SPILLWAY_RETURN_IF_ERROR(
        receive_all(fd, {reinterpret_cast<std::byte*>(&header), sizeof(header)}, bounds, kDoing));
    if (header.code != 0)
    {
      std::string message(std::min<std::size_t>(header.bytes, kFrameLimit), '\0');
      SPILLWAY_RETURN_IF_ERROR(receive_all(
          fd, {reinterpret_cast<std::byte*>(message.data()), message.size()}, bounds, kDoing));
      return absl::Status(static_cast<absl::StatusCode>(header.code), message);
    }
    if (header.bytes == 0 || header.bytes > destination.size())
      return absl::DataLossError(absl::StrCat("a piece of ", header.bytes, " bytes where ",
                                              destination.size(), " are left"));
    const MutableByteSpan part = destination.subspan(0, header.bytes);
    SPILLWAY_RETURN_IF_ERROR(receive_all(fd, part, bounds, kDoing));
    if (content_hash(part, offset) != header.hash)
      return absl::DataLossError(
          absl::StrCat("bytes [", offset, ", ", offset + header.bytes, ") do not have their hash"));
    offset += header.bytes;
    destination.remove_prefix(header.bytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status read_state_range(const Clock& clock, const RangeRequest& request,
                              MutableByteSpan destination, const CallOptions& options,
                              AbortWord& abort)
{
  const std::string what = absl::StrCat("state ", to_string(request.name), " from worker ",
                                        request.donor.worker.value(), " at ", request.donor.address,
                                        ", ", destination.size(), " bytes from ", request.offset);
  const CallBounds bounds(clock, options.deadline, abort, request.number);
  const Hello hello{.kind = HelloKind::kState,
                    .lineage = request.lineage,
                    .number = request.number,
                    .from = {},
                    .to = request.donor.worker,
                    .blob = {}};
  absl::StatusOr<Fd> fd = greet(request.donor, hello, bounds, "ask for state");
  if (!fd.ok()) return annotate(fd.status(), what);
  const RangeQuery query{
      .name = request.name, .offset = request.offset, .bytes = destination.size()};
  absl::Status status =
      send_all(fd->get(), as_bytes(framed(encode(query))), bounds, "ask for a range");
  if (status.ok()) status = read_pieces(fd->get(), request, destination, bounds);
  return annotate(status, what);
}

absl::Status probe_peer(const Clock& clock, const Member& peer, const std::string& own_address,
                        Lineage lineage, const CallOptions& options)
{
  // A probe belongs to no number: nothing but its deadline ends it.
  AbortWord never;
  const CallBounds bounds(clock, options.deadline, never, Number(1));
  const Hello hello{.kind = HelloKind::kProbe,
                    .lineage = lineage,
                    .number = {},
                    .from = {},
                    .to = peer.worker,
                    .blob = own_address};
  return annotate(greet(peer, hello, bounds, "probe").status(),
                  absl::StrCat("probe of worker ", peer.worker.value(), " at ", peer.address));
}

}  // namespace spillway::comm
