// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/base/bytes.h"
#include "spillway/comm/flight_recorder.h"
#include "spillway/comm/types.h"

namespace spillway::comm {

// The members of one number, able to reduce. Made by Transport::connect, owned by the caller, at
// most one call at a time (any thread; the engine's communication thread as a rule). Destroying it
// closes its links in an orderly way, which peers do not take for a fault.
//
// Memory. Contributions lie in memory from allocate(), which belongs to the group and goes with it;
// results go to memory of the caller, which no peer can write and which outlives the group. A
// contribution elsewhere, or a result inside the group's memory (so also in place), is
// kInvalidArgument. Spans may begin at any byte. When a call returns, with whatever status, the
// group neither reads the caller's memory nor writes results any more; contributions may still be
// read by peers until their own call has ended, so after an error they are not written again in
// this group.
//
// Arithmetic. Element i of a reduction is ((c0[i] op c1[i]) op c2[i]) … in ascending rank order.
// fp32 and fp64 in their own type, without contraction; bf16 and fp16 widen to fp32, fold there and
// round once to nearest even; integers wrap. Minimum and maximum give NaN if any operand is NaN,
// and the lower rank's value of equal ones (-0 and +0). All members get the same bits, and all
// backends do.
//
// Failure. kAborted: the abort word covers this number. kUnavailable: a peer died.
// kDeadlineExceeded: names who has not arrived. kFailedPrecondition: members called different
// collectives; names whose differs. After any of these the result's content is unspecified and
// every later call fails with the same code: build the next group. kInvalidArgument: this member's
// own argument, noticed before anything is sent; the group stays usable.
class Group
{
 public:
  virtual ~Group() = default;

  virtual Number number() const = 0;
  virtual Rank rank() const = 0;
  virtual std::uint32_t size() const = 0;
  virtual WorkerId worker(Rank rank) const = 0;

  // Zero-filled memory for contributions, aligned to 64 bytes. Lives as long as the group. May run
  // beside a collective. kResourceExhausted names what is short.
  virtual absl::StatusOr<MutableByteSpan> allocate(std::size_t bytes) = 0;

  // `contribution` and `result` have the same size, a multiple of the element's.
  virtual absl::Status all_reduce(const OpName& name, DType dtype, ReduceOp op,
                                  ByteSpan contribution, MutableByteSpan result,
                                  const CallOptions& options) = 0;

  // As all_reduce, but `result` is this member's shard_range of the elements.
  virtual absl::Status reduce_scatter(const OpName& name, DType dtype, ReduceOp op,
                                      ByteSpan contribution, MutableByteSpan result,
                                      const CallOptions& options) = 0;

  // One record of the same size from each member, in rank order. `record` may lie anywhere, it is
  // copied before it is sent; `results` has size() times its size. The control word travels so.
  virtual absl::Status all_gather(const OpName& name, ByteSpan record, MutableByteSpan results,
                                  const CallOptions& options) = 0;

  // `source` is read at the root only and may lie anywhere; `result`, of the same size everywhere,
  // is written at all members, the root too.
  virtual absl::Status broadcast(const OpName& name, Rank root, ByteSpan source,
                                 MutableByteSpan result, const CallOptions& options) = 0;

  // Keeps the transport moving without blocking: for a group that was left, until the first control
  // word of the next one is complete. Not beside a collective of this group.
  virtual void progress() = 0;

  virtual FlightRecorder& recorder() = 0;
};

}  // namespace spillway::comm
