// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/base/clock.h"
#include "spillway/base/rng.h"
#include "spillway/comm/transport.h"

namespace spillway::comm {

// What every backend of Group must do, with the members as threads of this process, each with a
// transport of its own. An instantiation links the suite and names its backend:
//   INSTANTIATE_TEST_SUITE_P(Loopback, GroupSuite, testing::Values(backend));
struct SuiteBackend
{
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<Transport>>(TransportOptions)> make;
  friend std::ostream& operator<<(std::ostream& out, const SuiteBackend& backend)
  {
    return out << backend.name;
  }
};

class GroupSuite : public testing::TestWithParam<SuiteBackend>
{
};

inline MonotonicTime soon(Duration span = std::chrono::seconds(30))
{
  return deadline_after(system_clock().now(), span);
}

// Some members, each with a transport and an abort word of its own, connected number after number.
class Team
{
 public:
  struct Seat
  {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<AbortWord> abort = std::make_unique<AbortWord>();
    std::unique_ptr<Group> group;
  };

  Team(const SuiteBackend& backend, std::uint32_t size, PeerEvents events = {});
  ~Team();

  std::uint32_t size() const { return static_cast<std::uint32_t>(seats_.size()); }
  Seat& seat(std::uint32_t rank) { return seats_[rank]; }
  Group& group(std::uint32_t rank) { return *seats_[rank].group; }
  GroupSpec spec(Number number, std::uint32_t rank) const;
  // Destroys the groups and connects the next number; expects success.
  void connect(Number number);
  // Runs `body(rank)` at all members at once, each in a thread.
  void everybody(const std::function<void(std::uint32_t rank)>& body);

 private:
  std::vector<Seat> seats_;
};

OpName name(std::uint64_t step, std::uint32_t index = 0);
// Memory of the group that holds `bytes`, beginning `shift` bytes past an aligned address.
MutableByteSpan contribute(Group& group, ByteSpan bytes, std::size_t shift = 0);

// By rank. The expected bits are the definition in group.h, computed one element at a time.
using Contributions = std::vector<std::vector<std::byte>>;
Contributions random_contributions(Rng& rng, std::uint32_t size, std::uint64_t count, DType dtype);
std::vector<std::byte> expected_reduction(const Contributions& in, DType dtype, ReduceOp op);

}  // namespace spillway::comm
