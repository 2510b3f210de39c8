// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "left_out.h"
#include "spillway/coordinator/job_record.h"
#include "spillway/coordinator/messages.h"
#include "spillway/coordinator/rules.h"

namespace spillway {

// Which epoch follows a fault, from the promises that came in (P2, P4, P14). A pure function:
// the caller has made sure that everybody who is asked has answered or is judged silent.

struct Answer
{
  WorkerId worker;
  const MemberStatus* status = nullptr;
};

struct FormationInput
{
  const JobRecord* record = nullptr;
  std::vector<Answer> answers;  // ascending by worker
  std::function<bool(WorkerId)> answers_now;
  std::function<bool(WorkerId)> is_dead;
  std::vector<WorkerPair> unreachable_pairs;
  std::size_t max_members = 0;
  ProtocolRules rules;
  BranchObserver* observer = nullptr;
};

struct Formation
{
  StateName base{};
  bool initial = false;
  std::vector<WorkerId> members{};  // ascending
  std::vector<WorkerId> copiers{};  // of the members
  std::vector<WorkerId> holders{};  // of all answers
  StepId last_step{};
  std::string reason{};              // of the base
  std::vector<WorkerId> left_out{};  // by unreachable pairs
};

struct FormationVerdict
{
  std::optional<Formation> formation;
  // Otherwise why not, and for whom it waits. Nobody to wait for: the state is lost.
  std::string waits;
  std::vector<WorkerId> waiting_for;
  bool state_lost = false;
};

FormationVerdict judge_formation(const FormationInput& input);

}  // namespace spillway
