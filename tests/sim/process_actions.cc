// SPDX-License-Identifier: Apache-2.0
// What the engine does for each action of the core.
#include "process.h"
#include "world.h"

namespace spillway::sim {

void Process::act(const SendStatus& action)
{
  if (!std::exchange(greets_, false)) return world_.control().send_up(index_, action.status);
  Hello hello{
      .worker = worker_, .info = world_.info(index_), .status = action.status, .members = {}};
  hello.info.worker = worker_;
  if (core_->members() != nullptr) hello.members = core_->members()->members();
  world_.control().greet(index_, std::move(hello));
}

void Process::act(const SendProbeResult& action)
{
  world_.control().send_up(index_, action.result);
}

void Process::act(const Prepare& action)
{
  groups_[action.number].members = action.members;
  later(Lane::kPrepare, [this, number = action.number] { try_connect_group(number); });
}

void Process::act(const DropPrepared& action)
{
  close_group(action.number, {}, true);
  groups_.erase(action.number);
}

void Process::act(const StopNumber& action)
{
  world_.trace("process ", index_, " stops number ", action.number.value());
  ++attempt_;
  step_.reset();
  if (in_loop_ && !hangs_)
  {
    in_loop_ = false;
    loop_comes_back();
  }
}

// What cannot connect is a lost link of the number.
void Process::lose_unreachable(Number number, const MemberList& members)
{
  for (const MemberInfo& member : members.members())
  {
    const int peer = world_.index_of(member.worker);
    if (peer == index_) continue;
    // The other one had the link, and lost it, before this one came: it refuses.
    if (world_.network().is_broken(number, index_, peer))
      later(Lane::kNotice, [this, number, lost = member.worker] {
        feed(LinkLost{number, lost, "refused"});
      });
    if (!world_.process(peer).alive() || !world_.network().reachable(index_, peer))
      world_.schedule().after(world_.delay(Lane::kNotice, index_, peer), [this, peer, number] {
        if (!world_.process(peer).alive() || !world_.network().reachable(index_, peer))
          world_.network().break_link(number, index_, peer, true);
      });
  }
}

void Process::act(const EnterEpoch& action)
{
  world_.trace("process ", index_, " enters epoch ", action.number.value(), " base ",
               to_string(action.base));
  close_groups_below(action.number, true);
  join_group(action.number, action.members);
  world_.activated(worker_, action.number, action.base);
  lose_unreachable(action.number, *action.members);
}

void Process::act(const SwitchTo& action)
{
  world_.trace("process ", index_, " switches to ", action.number.value(), " base ",
               to_string(action.base));
  join_group(action.number, action.members);
  world_.activated(worker_, action.number, action.base);
  for (WorkerId joiner : action.joiners)
  {
    PeerMessage message;
    message.kind = PeerMessage::Kind::kBase;
    message.number = action.number;
    message.base = {action.number, action.switched_from, action.base, action.last_step, worker_};
    world_.network().send(index_, world_.index_of(joiner), std::move(message));
  }
}

void Process::act(const JoinNumber& action)
{
  world_.trace("process ", index_, " joins ", action.number.value(), " base ",
               to_string(action.base));
  close_groups_below(action.number, true);
  join_group(action.number, action.members);
  world_.activated(worker_, action.number, action.base);
  lose_unreachable(action.number, *action.members);
}

void Process::act(const CloseNumber& action)
{
  close_group(action.number, {action.keep.begin(), action.keep.end()}, false);
  if (action.keep.empty()) groups_.erase(action.number);
}

void Process::act(const LeaveNumber&)
{
  ++attempt_;
  step_.reset();
  world_.ledger().deactivated(worker_);
}

void Process::act(const StandAside& action)
{
  world_.trace("process ", index_, " stands aside in ", action.epoch.value());
  close_groups_below(action.epoch.next(), true);
  ++attempt_;
  step_.reset();
  world_.ledger().deactivated(worker_);
}

void Process::act(const Finished&)
{
  world_.trace("process ", index_, " has finished");
}

void Process::act(const Exit& action)
{
  world_.trace("process ", index_, " exits: ", end_reason_name(action.reason));
  world_.process_exited(index_, action.reason);
  life_ = Life::kDead;
  if (worker_) world_.ledger().died(worker_);
  world_.network().break_all(index_, false);
  world_.control().process_died(index_);
  if (agent_alive_ && worker_) world_.coordinator().report_exit(index_);
}

void Process::act(const ProbePeer& action)
{
  const WorkerId peer = action.peer.worker;
  later(Lane::kNotice, [this, peer] {
    const int other = world_.index_of(peer);
    const bool reached =
        other >= 0 && world_.process(other).running() && world_.network().reachable(index_, other);
    feed(ProbeFinished{peer, reached});
  });
}

void Process::act(const MemberDecision& action)
{
  world_.trace("    ", action.rule, ": ", action.text);
}

// The engine ends the process, so that is what happens; what follows from it is judged like
// everything else. With all rules on it is a finding of its own.
void Process::act(const RuleBroken& action)
{
  world_.rule_broken(action.text);
  kill(true);
}

}  // namespace spillway::sim
