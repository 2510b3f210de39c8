// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace spillway {

// The rules of PROTOCOL.md that both pure cores follow, one switch each. Production code never
// touches them: they exist so that the simulator can show, by switching one off, that its
// invariants would notice. Plain data.
struct ProtocolRules
{
  // P1
  bool apply_only_after_word = true;
  bool keep_reduced_buckets = true;
  // P2
  bool base_from_highest_installed = true;
  bool base_rolls_forward_if_all_voted = true;
  bool uninstalled_epoch_keeps_its_base = true;
  // P3
  bool stopped_is_a_promise = true;
  bool abort_number_is_persisted = true;
  bool announcements_repeat = true;
  bool unanswered_promise_resumes_abort = true;
  bool left_number_stays_left = true;
  // P4
  bool holder_rule = true;
  bool every_active_number_answers = true;
  bool predecessors_hold_planned_base = true;
  bool predecessors_are_the_switched_number = true;
  bool heirs_of_the_dead_answer = true;
  bool seen_word_discounts_base_holders = true;
  // P5
  bool switch_needs_equal_min_and_max = true;
  bool abort_ends_pending = true;
  bool named_number_stays_prepared = true;
  bool switch_to_the_number_in_the_word = true;
  bool joiners_decided_at_switch = true;
  bool late_end_spares_higher_pending = true;
  bool urgent_wishes_are_bounded = true;
  // P6
  bool old_transport_until_first_word = true;
  bool leavers_wait_for_release = true;
  bool leaver_errors_are_no_faults = true;
  // P7
  bool joiner_contributes_zeros = true;
  bool joiner_votes_with_whole_copy = true;
  bool ranges_keyed_by_state_name = true;
  // P11; the cores check numbers of events, a transport checks those of its bytes.
  bool fenced_by_number = true;
  // P14
  bool unreachable_pairs_left_out = true;
  bool failed_preparation_reports_pair = true;
  // P15
  bool last_holder_waits_for_joiner = true;
  bool planned_change_keeps_a_holder = true;
  // Detail 10
  bool fault_of_previous_number_counts = true;
};

struct RuleSwitch
{
  const char* name;       // the field's name
  const char* paragraph;  // "P1" … "P15"
  bool ProtocolRules::*field;
};
// Every switch, in the order above.
const std::vector<RuleSwitch>& protocol_rule_switches();

// Told of each named branch that a core takes. nullptr in production. Called on the thread that
// steps the core.
class BranchObserver
{
 public:
  virtual ~BranchObserver() = default;
  virtual void branch(const char* name) = 0;
};
// All names that the membership core can report; member_branch_names() has the member's.
std::vector<const char*> membership_branch_names();

}  // namespace spillway
