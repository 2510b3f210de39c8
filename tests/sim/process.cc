// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <algorithm>

#include "world.h"

namespace spillway::sim {
namespace {

// What scripts call the work of a lane.
std::optional<Happening> own_work(Lane lane, int process)
{
  const auto work = [&](Held what) { return Happening{what, process, process, {}, {}}; };
  if (lane == Lane::kCompute) return work(Held::kComputing);
  if (lane == Lane::kApply) return work(Held::kApplying);
  if (lane == Lane::kPrepare) return work(Held::kPreparing);
  if (lane == Lane::kCopy) return work(Held::kCopying);
  return std::nullopt;
}

}  // namespace

Process::Process(World& world, int index) : world_(world), index_(index) {}

void Process::start()
{
  ranges_.resize(world_.setup().ranges);
  world_.control().connect(index_);
}

void Process::kill(bool agent_sees)
{
  if (!alive()) return;
  life_ = Life::kDead;
  agent_alive_ = agent_alive_ && agent_sees;
  backlog_.clear();
  held_.clear();
  inbox_.clear();
  world_.trace("process ", index_, " dies", agent_sees ? "" : " with its agent");
  if (worker_) world_.ledger().died(worker_);
  world_.network().break_all(index_, true);
  world_.control().process_died(index_);
  if (agent_alive_ && worker_) world_.coordinator().report_exit(index_);
}

void Process::pause()
{
  if (running()) life_ = Life::kPaused;
}

void Process::condemn()
{
  if (!alive() || std::exchange(condemned_, true)) return;
  world_.trace("process ", index_, " is to be killed by its agent");
  world_.schedule().after(4 * world_.delay(Lane::kAgent, index_, kCoordinator),
                          [this] { kill(agent_alive_); });
}

void Process::resume()
{
  if (!paused()) return;
  life_ = Life::kRunning;
  std::deque<std::function<void()>> backlog = std::exchange(backlog_, {});
  for (auto& what : backlog) when_running(std::move(what));
  world_.network().wake(index_);
  world_.control().wake(index_);
}

void Process::unhang()
{
  if (!std::exchange(hangs_, false) || !in_loop_) return;
  if (!step_ || zeros_)
  {
    in_loop_ = false;
    loop_comes_back();
  }
  if (!step_ || step_->control_only) return;
  const BeginStep step = *step_;
  later(Lane::kCompute, [this, step, attempt = attempt_] {
    if (attempt == attempt_) compute(step);
  });
}

void Process::ask_to_leave(bool urgent)
{
  leaving_ = true;
  urgent_ = urgent;
  if (core_) when_running([this, urgent] { feed(LeaveRequested{urgent}); });
}

void Process::when_running(std::function<void()> what)
{
  if (running())
    what();
  else if (paused())
    backlog_.push_back(std::move(what));
}

void Process::later(Lane lane, std::function<void()> what)
{
  world_.schedule().after(world_.delay(lane, index_, index_),
                          [this, lane, what = std::move(what)]() mutable {
                            if (is_held(lane))
                              return held_.emplace_back(lane, std::move(what)), void();
                            when_running(std::move(what));
                          });
}

bool Process::is_held(Lane lane) const
{
  return !world_.holds().empty() && world_.holds().holds(own_work(lane, index_));
}

void Process::release_held()
{
  auto held = std::exchange(held_, {});
  for (auto& [lane, what] : held)
    if (is_held(lane))
      held_.emplace_back(lane, std::move(what));
    else
      when_running(std::move(what));
}

bool Process::any_held(Lane lane) const
{
  return std::any_of(held_.begin(), held_.end(), [&](const auto& h) { return h.first == lane; });
}

void Process::feed(MemberEvent event)
{
  inbox_.push_back(std::move(event));
  if (std::exchange(feeding_, true)) return;
  while (!inbox_.empty() && alive())
  {
    const MemberEvent next = std::move(inbox_.front());
    inbox_.pop_front();
    for (const MemberAction& action : core_->step(next, world_.now()))
    {
      std::visit([this](const auto& a) { act(a); }, action);
      if (!alive()) break;
    }
  }
  feeding_ = false;
}

void Process::accepted(WorkerId worker, Lineage lineage)
{
  if (core_ != nullptr) return;
  worker_ = worker;
  core_ = std::make_unique<MemberCore>(MemberConfig{.self = worker,
                                                    .lineage = lineage,
                                                    .range_count = world_.setup().ranges,
                                                    .last_step = world_.setup().fixed_last_step},
                                       world_.setup().rules, &world_.branches());
  world_.greeted(worker, index_);
  greets_ = false;
  if (leaving_) feed(LeaveRequested{urgent_});
  feed(ConnectionUp{});
  loop_comes_back();
}

void Process::connection_up()
{
  if (core_ == nullptr)
    return world_.control().greet(
        index_, Hello{.worker = {}, .info = world_.info(index_), .status = {}, .members = {}});
  greets_ = true;
  feed(ConnectionUp{});
}

void Process::connection_down()
{
  if (core_ != nullptr) feed(ConnectionDown{});
}

void Process::received(const ControlMessage& message)
{
  if (core_ != nullptr) return feed(ControlReceived{message});
  if (std::holds_alternative<Release>(message)) act(Exit{});
}

void Process::lease_extended(MonotonicTime until)
{
  if (core_ != nullptr) feed(LeaseExtended{until});
}

void Process::arrived(int from, const PeerMessage& message)
{
  // A pump asks for a running process, so nothing waits here.
  if (core_ == nullptr) return;
  if (message.kind == PeerMessage::Kind::kBroken)
  {
    const auto at = groups_.find(message.number);
    if (at == groups_.end()) return;
    world_.trace("process ", index_, " loses its link to ", from, " in ", message.number.value());
    feed(LinkLost{message.number, world_.process(from).worker(), "closed"});
    return;
  }
  if (message.kind == PeerMessage::Kind::kBase)
  {
    feed(message.base);
    return;
  }
  arrived_in_group(from, message);
}

}  // namespace spillway::sim
