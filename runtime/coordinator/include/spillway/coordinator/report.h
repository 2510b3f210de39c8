// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spillway/base/ids.h"
#include "spillway/coordinator/hello.h"
#include "spillway/coordinator/membership.h"

namespace spillway::coordinator {

// What `spillway status` and `spillway explain` show of one job: plain data and its rendering.
struct JobReport
{
  struct Node
  {
    NodeId node;
    std::string host;
    std::string address;
    std::uint32_t slots = 0;
    bool connected = false;
    double last_heard_seconds = 0;  // ago
  };
  struct Member
  {
    WorkerId worker;
    NodeId node;
    std::string address;
    std::uint32_t rank = 0;  // valid if in_epoch
    bool in_epoch = false;
    bool connected = false;
    bool silent = false;
    bool dead = false;
    bool leaving = false;
    Number promised;
    Number installed;
    StateName applied;
    Telemetry telemetry;
  };
  struct PastDecision
  {
    double seconds_ago = 0;
    std::string rule;
    std::string text;
  };
  std::string job;
  Lineage lineage;
  std::uint64_t term = 0;
  Number epoch;
  Number pending;
  Number open_abort;
  StepId step;        // highest applied
  std::string ended;  // empty while it runs
  std::string alarm;  // e.g. why the store does not take the record
  std::vector<Node> nodes;
  std::vector<Member> members;
  std::vector<WorkerId> waiting_for;
  std::string next;
  std::vector<std::string> advice;
  std::vector<PastDecision> decisions;  // newest last
  std::vector<std::pair<WorkerId, WorkerId>> unreachable_pairs;
};

struct JobSummary
{
  std::string job;
  Lineage lineage;
  Number epoch;
  std::uint32_t members = 0;
  std::string ended;
};

// One JSON object; keys are the field names, ids are numbers, a lineage is a string of hex digits.
std::string to_json(const JobReport& report);
std::string to_json(const std::vector<JobSummary>& jobs);
// For people: a table of members, and with `explain` who is missing, what happens next and why.
std::string to_text(const JobReport& report, bool explain);

}  // namespace spillway::coordinator
