// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "number_links.h"
#include "spillway/comm/types.h"

namespace spillway::engine {

// A user collective as one member calls it.
struct UserCall
{
  enum class Kind : std::uint32_t
  {
    kGather,  // the values of the members that hold the step, in rank order
    kSum,     // element by element, in rank order
  };
  Kind kind = Kind::kGather;
  comm::DType type = comm::DType::kFp32;  // of kSum
  std::string value;
  // Of whom the loop believes that they make this call, each with its share; 0: the value is no
  // share, it may be anybody's.
  std::uint64_t sharers = 0;
};

std::uint64_t hash_of_sharers(const std::vector<WorkerId>& workers);

// User collectives, keyed by (step, call index). Members that hold the step may be at different
// calls when a number begins: some had a result before the fault, some did not. So each round over
// a group begins with where everybody is; the lowest call is done next, and who has its result
// already supplies it. A step of a new number begins when no holder wants a call any more; who does
// not hold the step takes part in the rounds and adds nothing.
//
// One thread at a time: the user thread between two steps, and whichever thread runs the gate of a
// step, never both.
class CallRounds
{
 public:
  // The member holds another step: earlier results are needed no more.
  void reset(StepId after);
  // The loop has not seen the step that the member holds: it makes no calls after it.
  void forget() { reset(StepId(~std::uint64_t{0})); }

  // Makes the next call of this member over that group: its result. kOutOfRange: nobody has a
  // result, and other workers make this call than some loop believes, so that shares would be
  // missing or doubled: all who make it learn that, and call again with shares for sharers().
  absl::StatusOr<std::vector<std::string>> call(NumberLinks& links, const UserCall& call);
  // Who held the step in the last round, in rank order.
  const std::vector<WorkerId>& sharers() const { return sharers_; }
  // Takes part until nobody who holds the step before `next` wants a call.
  absl::Status gate(NumberLinks& links, StepId next, bool holds);

 private:
  struct Position;
  absl::Status rounds(NumberLinks& links, StepId next, bool holds, const UserCall* call);
  bool shares_fit(const NumberLinks& links, const std::vector<Position>& all, std::uint64_t index);
  absl::Status check(const NumberLinks& links, const std::vector<Position>& all,
                     std::uint64_t index) const;
  absl::Status supply(NumberLinks& links, StepId next, std::uint64_t index, std::uint32_t supplier,
                      std::vector<std::string>& result);
  absl::Status gather(NumberLinks& links, StepId next, const std::vector<Position>& all,
                      std::uint64_t index, const UserCall* call, std::vector<std::string>& result);
  absl::Status sum(NumberLinks& links, StepId next, const Position& shape, const UserCall* call,
                   std::vector<std::string>& result);

  StepId after_;
  std::vector<std::vector<std::string>> results_;  // by call index
  std::vector<WorkerId> sharers_;
};

}  // namespace spillway::engine
