// SPDX-License-Identifier: Apache-2.0
#include "formation.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace spillway {
namespace {

// What one answer claims, after the adjustments of P2. Made anew wherever it is looked at: kept for
// all answers of a large job they would be a megabyte that nobody has touched before.
struct Claim
{
  Number installed;
  StateName applied;
  std::optional<StateName> voted;
};

class Judge
{
 public:
  explicit Judge(const FormationInput& input) : in_(input), record_(*input.record) {}

  FormationVerdict verdict()
  {
    if (in_.answers.empty()) return nobody();
    FormationVerdict out;
    if (in_.rules.holder_rule && !numbers_answered(out)) return out;
    const bool no_state = std::none_of(in_.answers.begin(), in_.answers.end(), has_state);
    if (no_state || (in_.rules.holder_rule && !holder_answers())) return no_holder(no_state);
    uninstalled_epoch_keeps_base();
    Formation formation;
    choose_base(formation);
    fill_members(formation);
    if (formation.members.empty()) return no_holder(false);
    out.formation = std::move(formation);
    return out;
  }

 private:
  void branch(const char* name) const
  {
    if (in_.observer != nullptr) in_.observer->branch(name);
  }

  FormationVerdict nobody() const
  {
    branch("form.nobody_answers");
    return {.formation = {}, .waits = "nobody has answered", .waiting_for = unheard()};
  }

  // Members of numbers that may be active and others who may hold the newest state, as far as they
  // neither answer nor are known dead.
  std::vector<WorkerId> unheard() const
  {
    std::vector<WorkerId> out;
    for (const auto& [number, content] : record_.numbers)
      for (const MemberInfo& member : content.members->members())
        if (!in_.answers_now(member.worker) && !in_.is_dead(member.worker))
          out.push_back(member.worker);
    for (WorkerId worker : record_.absent)
      if (!in_.answers_now(worker) && !in_.is_dead(worker)) out.push_back(worker);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  static bool has_state(const Answer& answer)
  {
    return answer.status->applied && answer.status->installed;
  }
  // P2: an epoch formed after a fault that nobody installed has applied nothing, so what it was
  // to start from stands, held applied or in kept buckets.
  Claim claim_of(const MemberStatus& status) const
  {
    if (stands_ != nullptr && (status.applied == *stands_ || status.voted == *stands_))
      return {record_.newest, *stands_, std::nullopt};
    return {status.installed, *status.applied, status.voted};
  }

  bool any_answers(const MemberList& list) const
  {
    return std::any_of(list.members().begin(), list.members().end(),
                       [&](const MemberInfo& m) { return in_.answers_now(m.worker); });
  }
  bool all_dead(const MemberList& list) const
  {
    return std::all_of(list.members().begin(), list.members().end(),
                       [&](const MemberInfo& m) { return in_.is_dead(m.worker); });
  }
  bool all_answer_or_dead(const MemberList& list) const
  {
    return std::all_of(list.members().begin(), list.members().end(), [&](const MemberInfo& m) {
      return in_.answers_now(m.worker) || in_.is_dead(m.worker);
    });
  }

  // P4: of every number that may be active somebody promised, so it completes no further step.
  bool numbers_answered(FormationVerdict& out) const
  {
    if (!in_.rules.every_active_number_answers) return true;
    for (const auto& [number, content] : record_.numbers)
    {
      if (any_answers(*content.members)) continue;
      if (!all_dead(*content.members))
      {
        branch("form.number_unheard");
        out.waits = absl::StrCat("number ", number.value(),
                                 " may be active and none of its members has answered");
        out.waiting_for = unheard();
        return false;
      }
      if (in_.rules.heirs_of_the_dead_answer && !heirs_answer(number))
      {
        branch("form.heirs_unheard");
        out.waits = absl::StrCat("all members of ", number.value(),
                                 " are dead; its last steps may live on in a later number");
        out.waiting_for = unheard();
        return false;
      }
      branch("form.number_dead");
    }
    return true;
  }
  bool heirs_answer(Number number) const
  {
    for (const auto& [later, content] : record_.numbers)
      if (later > number && !all_answer_or_dead(*content.members)) return false;
    return true;
  }

  // An epoch formed after a fault has applied nothing as long as no answer has installed it: who
  // has not installed it has not voted in it. Who saw a word of it had, even if its state is gone
  // since by a failed apply.
  const StateName* base_that_stands() const
  {
    const auto newest = record_.numbers.find(record_.newest);
    if (newest == record_.numbers.end() || newest->second.kind != NumberRecord::Kind::kFormed ||
        !newest->second.base)
      return nullptr;
    for (const Answer& answer : in_.answers)
      if (has_state(answer) && answer.status->installed >= record_.newest) return nullptr;
    if (may_have_applied_unheard()) return nullptr;
    return &*newest->second.base;
  }

  // A word of the newest number was seen, so who does not answer may have applied a step of it.
  bool may_have_applied_unheard() const
  {
    if (!in_.rules.seen_word_discounts_base_holders) return false;
    const bool word_seen = std::any_of(
        in_.answers.begin(), in_.answers.end(),
        [&](const Answer& answer) { return answer.status->first_word >= record_.newest; });
    return word_seen && !unheard().empty();
  }

  bool holder_answers() const
  {
    const StateName* stands = base_that_stands();
    const bool planned = record_.numbers.at(record_.newest).kind == NumberRecord::Kind::kPlanned;
    // Who is not in the newest number may hold the base of it and nothing later.
    const bool base_counts = planned && !may_have_applied_unheard();
    return std::any_of(in_.answers.begin(), in_.answers.end(), [&](const Answer& answer) {
      const MemberStatus& status = *answer.status;
      const bool has_base =
          (status.left && status.left >= record_.newest) ||
          std::binary_search(record_.holders.begin(), record_.holders.end(), answer.worker);
      return has_state(answer) &&
             (status.installed >= record_.newest || (base_counts && has_base) ||
              (stands != nullptr && (status.applied == *stands || status.voted == *stands)));
    });
  }

  FormationVerdict no_holder(bool no_state) const
  {
    FormationVerdict out;
    out.waiting_for = unheard();
    out.state_lost = out.waiting_for.empty();
    branch(out.state_lost ? "form.state_lost" : "form.holder_unheard");
    out.waits = absl::StrCat("no holder of ", record_.newest.value(), " has answered",
                             no_state ? ", and no answer has a state" : "");
    return out;
  }

  void uninstalled_epoch_keeps_base()
  {
    if (in_.rules.uninstalled_epoch_keeps_its_base) stands_ = base_that_stands();
    if (stands_ != nullptr) branch("form.base_stands");
  }

  void choose_base(Formation& out) const
  {
    // The first of the greatest counts, and whoever is not below it.
    const auto installed = [&](const Claim& claim) {
      return in_.rules.base_from_highest_installed ? claim.installed : Number();
    };
    std::optional<Claim> top;
    for (const Answer& answer : in_.answers)
    {
      if (!has_state(answer)) continue;
      const Claim claim = claim_of(*answer.status);
      if (!top || std::make_pair(installed(claim), claim.applied.step) >
                      std::make_pair(installed(*top), top->applied.step))
        top = claim;
    }
    const Number highest = installed(*top);
    const StepId next = top->applied.step.next();
    const auto voted = [&](const Answer& answer) {
      if (!has_state(answer)) return true;
      const Claim claim = claim_of(*answer.status);
      return claim.installed < highest ||
             (claim.voted && claim.voted->step == next && claim.voted->number == claim.installed);
    };
    const bool all_voted = in_.rules.base_rolls_forward_if_all_voted &&
                           std::all_of(in_.answers.begin(), in_.answers.end(), voted);
    out.base = all_voted ? *top->voted : top->applied;
    branch(all_voted ? "form.rolls_forward" : "form.newest_applied");
    out.reason = all_voted ? absl::StrCat("everybody of ", highest.value(),
                                          " who answered voted step ", next.value())
                           : absl::StrCat("the newest state applied in ", top->installed.value());
  }

  void fill_members(Formation& out) const
  {
    const auto holds = [&](const MemberStatus& s) {
      return s.applied == out.base || s.voted == out.base;
    };
    const std::vector<WorkerId>& released = record_.released;
    out.holders.reserve(in_.answers.size());
    out.members.reserve(in_.answers.size());
    for (const Answer& answer : in_.answers)
    {
      if (holds(*answer.status))
      {
        out.holders.push_back(answer.worker);
        // An end that was agreed on lies before the one that the program was started with.
        const auto& last = answer.status->last_step;
        if (last && (!out.last_step || last < out.last_step)) out.last_step = last;
      }
      if (released.empty() || !std::binary_search(released.begin(), released.end(), answer.worker))
        out.members.push_back(answer.worker);
    }
    const auto is_holder = [&](WorkerId worker) {
      return std::binary_search(out.holders.begin(), out.holders.end(), worker);
    };
    leave_out_unreachable(out, is_holder);
    keep_at_most(out, is_holder);
    std::set_difference(out.members.begin(), out.members.end(), out.holders.begin(),
                        out.holders.end(), std::back_inserter(out.copiers));
    if (out.copiers.size() == out.members.size()) out.members.clear();
  }

  template <typename IsHolder>
  void leave_out_unreachable(Formation& out, const IsHolder& is_holder) const
  {
    if (!in_.rules.unreachable_pairs_left_out) return;
    const auto is_member = [&](WorkerId worker) {
      return std::binary_search(out.members.begin(), out.members.end(), worker);
    };
    std::vector<WorkerPair> pairs;
    for (const WorkerPair& pair : in_.unreachable_pairs)
      if (is_member(pair.first) && is_member(pair.second)) pairs.push_back(pair);
    if (pairs.empty()) return;
    branch("form.leaves_out_pair");
    const auto holding = std::count_if(out.members.begin(), out.members.end(), is_holder);
    out.left_out = smallest_left_out(pairs, is_holder, static_cast<std::size_t>(holding));
    std::erase_if(out.members, [&](WorkerId worker) {
      return std::binary_search(out.left_out.begin(), out.left_out.end(), worker);
    });
  }

  // Above the maximum size those who were members stay first, then the older ones; a holder stays.
  template <typename IsHolder>
  void keep_at_most(Formation& out, const IsHolder& is_holder) const
  {
    if (in_.max_members == 0 || out.members.size() <= in_.max_members) return;
    branch("form.above_maximum");
    const auto newest = record_.numbers.find(record_.newest);
    const auto rank = [&](WorkerId worker) {
      const bool was = newest != record_.numbers.end() && newest->second.members->contains(worker);
      return std::make_pair(was ? 0 : 1, worker);
    };
    std::sort(out.members.begin(), out.members.end(),
              [&](WorkerId a, WorkerId b) { return rank(a) < rank(b); });
    const auto first_holder = std::find_if(out.members.begin(), out.members.end(), is_holder);
    if (first_holder != out.members.end())
      std::rotate(out.members.begin(), first_holder, first_holder + 1);
    out.members.resize(in_.max_members);
    std::sort(out.members.begin(), out.members.end());
  }

  const FormationInput& in_;
  const JobRecord& record_;
  const StateName* stands_ = nullptr;  // once uninstalled_epoch_keeps_base() has decided
};

}  // namespace

FormationVerdict judge_formation(const FormationInput& input)
{
  return Judge(input).verdict();
}

}  // namespace spillway
