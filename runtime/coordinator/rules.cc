// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/rules.h"

namespace spillway {

const std::vector<RuleSwitch>& protocol_rule_switches()
{
  using R = ProtocolRules;
  static const std::vector<RuleSwitch> switches = {
      {"apply_only_after_word", "P1", &R::apply_only_after_word},
      {"keep_reduced_buckets", "P1", &R::keep_reduced_buckets},
      {"base_from_highest_installed", "P2", &R::base_from_highest_installed},
      {"base_rolls_forward_if_all_voted", "P2", &R::base_rolls_forward_if_all_voted},
      {"uninstalled_epoch_keeps_its_base", "P2", &R::uninstalled_epoch_keeps_its_base},
      {"stopped_is_a_promise", "P3", &R::stopped_is_a_promise},
      {"abort_number_is_persisted", "P3", &R::abort_number_is_persisted},
      {"announcements_repeat", "P3", &R::announcements_repeat},
      {"unanswered_promise_resumes_abort", "P3", &R::unanswered_promise_resumes_abort},
      {"left_number_stays_left", "P3", &R::left_number_stays_left},
      {"holder_rule", "P4", &R::holder_rule},
      {"every_active_number_answers", "P4", &R::every_active_number_answers},
      {"predecessors_hold_planned_base", "P4", &R::predecessors_hold_planned_base},
      {"predecessors_are_the_switched_number", "P4", &R::predecessors_are_the_switched_number},
      {"heirs_of_the_dead_answer", "P4", &R::heirs_of_the_dead_answer},
      {"seen_word_discounts_base_holders", "P4", &R::seen_word_discounts_base_holders},
      {"switch_needs_equal_min_and_max", "P5", &R::switch_needs_equal_min_and_max},
      {"abort_ends_pending", "P5", &R::abort_ends_pending},
      {"named_number_stays_prepared", "P5", &R::named_number_stays_prepared},
      {"switch_to_the_number_in_the_word", "P5", &R::switch_to_the_number_in_the_word},
      {"joiners_decided_at_switch", "P5", &R::joiners_decided_at_switch},
      {"late_end_spares_higher_pending", "P5", &R::late_end_spares_higher_pending},
      {"urgent_wishes_are_bounded", "P5", &R::urgent_wishes_are_bounded},
      {"old_transport_until_first_word", "P6", &R::old_transport_until_first_word},
      {"leavers_wait_for_release", "P6", &R::leavers_wait_for_release},
      {"leaver_errors_are_no_faults", "P6", &R::leaver_errors_are_no_faults},
      {"joiner_contributes_zeros", "P7", &R::joiner_contributes_zeros},
      {"joiner_votes_with_whole_copy", "P7", &R::joiner_votes_with_whole_copy},
      {"ranges_keyed_by_state_name", "P7", &R::ranges_keyed_by_state_name},
      {"fenced_by_number", "P11", &R::fenced_by_number},
      {"unreachable_pairs_left_out", "P14", &R::unreachable_pairs_left_out},
      {"failed_preparation_reports_pair", "P14", &R::failed_preparation_reports_pair},
      {"last_holder_waits_for_joiner", "P15", &R::last_holder_waits_for_joiner},
      {"planned_change_keeps_a_holder", "P15", &R::planned_change_keeps_a_holder},
      {"fault_of_previous_number_counts", "P4", &R::fault_of_previous_number_counts},
  };
  return switches;
}

}  // namespace spillway
