// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/base/bytes.h"
#include "spillway/coordinator/member_list.h"
#include "spillway/coordinator/messages.h"

namespace spillway {

// The content of one number. It never changes once persisted (P3), except that a planned number
// learns from where it was entered.
struct NumberRecord
{
  enum class Kind : std::uint8_t
  {
    kFormed,   // an epoch after a fault, or the first; active from its formation
    kPlanned,  // a change without a fault; active once somebody reports it
  } kind = Kind::kFormed;
  MemberListPtr members{};
  std::vector<WorkerId>
      copiers{};  // ascending; of a planned number: as published, not binding (P7)
  std::optional<StateName> base{};  // of a formed number
  bool initial = false;             // base is the initial state
  StepId last_step{};
  Number switched_from{};  // of a planned number, once known active
};

// Everything a coordinator must not forget about one job, as one value. Lists are shared, so a
// copy is cheap. Stored under the job's id before any action that follows Persist.
struct JobRecord
{
  Lineage lineage;
  WorkerId next_worker{1};
  Number last_number;                      // highest ever persisted: never reused
  Number open_abort;                       // Abort persisted, epoch not yet formed; 0: none
  Number newest;                           // newest number known active; 0: no epoch yet
  Number pending;                          // published, not known active; 0: none
  std::map<Number, NumberRecord> numbers;  // `newest` and everything published after it (detail 4)
  std::vector<WorkerId> holders;           // of the newest number's base, ascending (P4)
  // Outside all of `numbers`, but may hold the newest state: ascending. Known dead and released
  // ones are not among them (P4).
  std::vector<WorkerId> absent;
  std::vector<WorkerId> released;  // ascending
  bool stepped = false;  // somebody reported a first control word: state worth keeping exists
  EndReason ended = EndReason::kRunning;
  std::string end_detail;

  std::string encode() const;
  // kDataLoss for bytes that encode() did not write, with what to do in the message.
  static absl::StatusOr<JobRecord> decode(ByteSpan bytes);
};
using JobRecordPtr = std::shared_ptr<const JobRecord>;

}  // namespace spillway
