// SPDX-License-Identifier: Apache-2.0
// Rounds: which nodes start workers together. Programs on the API need it once, at the start;
// programs with a rendezvous of their own start anew with every round.
#include <algorithm>

#include "service/job_state.h"
#include "spillway/base/log.h"

namespace spillway::coordinator {
namespace {

// A program on the API has introduced itself by then; one that has not restarts all its workers
// when a node comes late.
constexpr Duration kKindKnownAfter = std::chrono::seconds(10);

}  // namespace

void JobState::on(NodeId node, const RestartWanted& wanted)
{
  if (over()) return;
  log_warning("job ", job_, ": node ", node.value(), " wants all workers of round ", wanted.round,
              " started anew: ", wanted.reason);
  // A newer one has begun, with this node or without it.
  if (wanted.round < file_.round.round) return announce_round(node);
  if (restart_wanted_ == kForever) restart_wanted_ = now_;
}

std::vector<NodeId> JobState::present_nodes() const
{
  std::vector<NodeId> out;
  for (const auto& [id, node] : nodes_)
    if (node.stream && !node.dismissed) out.push_back(id);
  return out;
}

bool JobState::somebody_may_return() const
{
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
    return !entry.second.stream && !entry.second.silent && kept(entry.first).round != 0;
  });
}

Rendezvous::Node JobState::round_entry(NodeId id) const
{
  const KeptNode& node = kept(id);
  return {node.node, node.address, node.master_port, node.slots};
}

void JobState::announce_round(NodeId node)
{
  say(node, file_.round);
}

void JobState::begin_round(const std::vector<NodeId>& nodes)
{
  ++file_.round.round;
  file_.round.nodes.clear();
  for (NodeId id : nodes)
  {
    file_.nodes.at(id).round = file_.round.round;
    file_.round.nodes.push_back(round_entry(id));
  }
  unstored_ = true;
  round_began_ = now_;
  last_call_at_ = restart_wanted_ = kForever;
  round_ended_well_ = false;
  log_info("job ", job_, ": round ", file_.round.round, " begins with ", nodes.size(), " nodes");
  for (NodeId id : nodes) announce_round(id);
}

void JobState::note_end_of_round(NodeId node, const NodeFarewell& farewell)
{
  const bool took_part = kept(node).round != 0 && kept(node).round == file_.round.round;
  const bool well = !farewell.fatal && farewell.exit.exit_code == 0 && farewell.exit.signal == 0;
  round_ended_well_ = round_ended_well_ || (took_part && well && !has_workers());
}

// The program has ended well everywhere: who came while it ran, and waited, has nothing to do. Who
// comes later runs it anew.
void JobState::dismiss_who_waits_for_a_round()
{
  if (!round_ended_well_ || over()) return;
  const auto in_round = [&](const auto& entry) {
    return kept(entry.first).round == file_.round.round;
  };
  if (std::any_of(nodes_.begin(), nodes_.end(), in_round)) return;
  round_ended_well_ = false;
  for (auto& [id, node] : nodes_)
  {
    node.dismissed = true;
    if (node.stream) say_that_all_is_done(id);
  }
}

void JobState::say_that_all_is_done(NodeId node)
{
  say(node,
      JobOver{EndReason::kFinished, "the program has ended well on all nodes that ran it", {}});
}

void JobState::advance_rounds()
{
  rounds_due_ = kForever;
  if (!file_.options || over() || !aside_.ok()) return;
  const bool nobody_started =
      std::none_of(file_.nodes.begin(), file_.nodes.end(),
                   [](const auto& entry) { return entry.second.round != 0; });
  if (nobody_started || restart_wanted_ != kForever)
    meet();
  else
    take_in_late_nodes();
}

void JobState::meet()
{
  const JobOptions& options = *file_.options;
  std::vector<NodeId> present = present_nodes();
  const bool again = restart_wanted_ != kForever;
  if (present.size() < options.nodes_min)
  {
    last_call_at_ = kForever;
    if (!again) return;  // each agent has a limit of its own for the first meeting
    rounds_due_ = deadline_after(restart_wanted_, options.join_timeout);
    // Where it has ended well it is not run again, so that nobody has to be waited for.
    if (now_ < rounds_due_ && !round_ended_well_) return;
    rounds_due_ = kForever;
    return step(EndRequested{absl::StrCat("fewer than ", options.nodes_min,
                                          " nodes are left to start the workers anew")});
  }
  if (again)
  {
    // Who is only cut off for a moment is waited for; watch_nodes() bounds that.
    if (somebody_may_return()) return;
  }
  else if (present.size() < options.nodes_max)
  {
    if (last_call_at_ == kForever) last_call_at_ = deadline_after(now_, options.last_call);
    rounds_due_ = last_call_at_;
    if (now_ < last_call_at_) return;
    rounds_due_ = kForever;
  }
  if (present.size() > options.nodes_max) present.resize(options.nodes_max);
  begin_round(present);
}

void JobState::take_in_late_nodes()
{
  const std::size_t most = file_.options->nodes_max;
  std::vector<NodeId> taking_part;
  std::vector<NodeId> late;
  for (const auto& [id, node] : nodes_)
  {
    const bool in_round = has_workers() ? kept(id).round != 0 : kept(id).round == file_.round.round;
    if (in_round && !node.silent) taking_part.push_back(id);
    if (!in_round && node.stream && !node.dismissed) late.push_back(id);
  }
  if (late.empty() || taking_part.size() >= most) return;
  late.resize(std::min(late.size(), most - taking_part.size()));
  if (!has_workers())
  {
    // A program of its own rendezvous: all start anew, as torchrun does. Not who is about to end
    // as well as another node has.
    if (round_ended_well_) return;
    rounds_due_ = deadline_after(round_began_, kKindKnownAfter);
    if (now_ < rounds_due_) return;
    rounds_due_ = kForever;
    restart_wanted_ = now_;
    return meet();
  }
  // On the API the others go on; only the newcomers hear of the round.
  ++file_.round.round;
  taking_part.insert(taking_part.end(), late.begin(), late.end());
  std::sort(taking_part.begin(), taking_part.end());
  for (NodeId id : late) file_.nodes.at(id).round = file_.round.round;
  file_.round.nodes.clear();
  for (NodeId id : taking_part) file_.round.nodes.push_back(round_entry(id));
  unstored_ = true;
  for (NodeId id : late) announce_round(id);
}

}  // namespace spillway::coordinator
