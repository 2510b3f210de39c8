// SPDX-License-Identifier: Apache-2.0
// One of many members dies: how long the membership core works until the next epoch is announced,
// over all events of the loss, and how much is announced to one member.
//   core_membership_bench [--members N]
// prints {"decide_ms": …, "announced_bytes_max": …}; another member list than expected is a
// failure.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "spillway/coordinator/membership.h"

namespace spillway {
namespace {

MemberInfo info_of(std::uint64_t worker)
{
  return {.worker = WorkerId(worker),
          .node = NodeId(worker / 8 + 1),
          .address = absl::StrCat("10.20.", worker / 250, ".", worker % 250, ":45123")};
}

// What an announcement says, field by field, without an encoding's savings.
std::size_t size_of(const MemberListUpdate& update)
{
  std::size_t bytes = sizeof(Hash128) + sizeof(Number) + 8 * update.removed.size();
  for (const MemberInfo& info : update.added) bytes += 24 + info.address.size();
  return bytes;
}
std::size_t size_of(const ControlMessage& message)
{
  std::size_t bytes = sizeof(EpochName);
  if (const auto* epoch = std::get_if<EpochAnnouncement>(&message))
    bytes += size_of(epoch->members) + 8 * epoch->copiers.workers.size() + 40;
  if (const auto* pending = std::get_if<PendingAnnouncement>(&message))
    bytes += size_of(pending->members) + 8 * pending->expected_joiners.size();
  return bytes;
}

class Bench
{
 public:
  explicit Bench(std::uint64_t members) : members_(members), status_(members + 1)
  {
    MembershipConfig config;
    config.max_members = members;
    core_ = std::make_unique<MembershipCore>(config, std::nullopt, Lineage(7), now_);
    for (std::uint64_t worker = 1; worker <= members; ++worker)
      core_->step(
          WorkerGreeted{worker,
                        Hello{.worker = {}, .info = info_of(worker), .status = {}, .members = {}}},
          now_);
    for (std::uint64_t worker = 1; worker <= members; ++worker)
    {
      MemberStatus& status = status_[worker];
      status.lineage = Lineage(7);
      status.promised = status.current = status.installed = status.first_word = Number(1);
      status.applied = StateName{Number(1), StepId(9)};
      core_->step(StatusReported{WorkerId(worker), status}, now_);
    }
    for (MemberStatus& status : status_) status.promised = Number(2);
  }

  // Returns whether the next epoch is what it should be.
  bool lose_one()
  {
    const WorkerId lost(members_ / 2);
    std::vector<MembershipEvent> events = {WorkerExited{lost, "killed"}};
    for (std::uint64_t worker = 1; worker <= members_; ++worker)
      if (WorkerId(worker) != lost)
        events.push_back(StatusReported{WorkerId(worker), status_[worker]});
    std::vector<std::vector<MembershipAction>> actions(events.size());
    const MonotonicTime begin = system_clock().now();
    for (std::size_t i = 0; i < events.size(); ++i) actions[i] = core_->step(events[i], now_);
    spent_ = system_clock().now() - begin;
    for (const auto& list : actions)
      for (const MembershipAction& action : list) count(action);
    const JobRecord& record = core_->record();
    const auto epoch = record.numbers.find(Number(2));
    return record.newest == Number(2) && epoch != record.numbers.end() &&
           epoch->second.members->size() == members_ - 1 &&
           !epoch->second.members->contains(lost) && announced_to_ == members_ - 1;
  }

  double decide_ms() const { return std::chrono::duration<double, std::milli>(spent_).count(); }
  std::size_t announced_bytes_max() const { return announced_bytes_max_; }

 private:
  void count(const MembershipAction& action)
  {
    const Send* send = std::get_if<Send>(&action);
    if (send == nullptr) return;
    announced_bytes_max_ = std::max(announced_bytes_max_, size_of(send->message));
    if (std::holds_alternative<EpochAnnouncement>(send->message)) announced_to_ += send->to.size();
  }

  std::uint64_t members_;
  std::vector<MemberStatus> status_;
  std::unique_ptr<MembershipCore> core_;
  MonotonicTime now_{};
  Duration spent_{};
  std::size_t announced_bytes_max_ = 0;
  std::size_t announced_to_ = 0;
};

}  // namespace
}  // namespace spillway

int main(int argc, char** argv)
{
  std::uint64_t members = 16384;
  if (argc == 3 && std::strcmp(argv[1], "--members") == 0 && absl::SimpleAtoi(argv[2], &members))
  {
  }
  else if (argc != 1)
  {
    std::fprintf(stderr, "usage: core_membership_bench [--members N]\n");
    return 2;
  }
  spillway::Bench bench(members);
  const bool right = bench.lose_one();
  std::printf("{\"decide_ms\": %.4f, \"announced_bytes_max\": %zu}\n", bench.decide_ms(),
              bench.announced_bytes_max());
  return right ? 0 : 1;
}
