// SPDX-License-Identifier: Apache-2.0
// The coordinator dies at each of its writes, with the write lost or done, and a successor goes on.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <future>
#include <map>

#include "dying_store.h"
#include "runner_fixture.h"

namespace spillway::coordinator {
namespace {

using MakeStore = std::function<std::unique_ptr<Store>()>;

// A member that does what it is told at once, and remembers the content of each number.
class ObedientWorker : public RecordingWorker
{
 public:
  ObedientWorker(InProcessNode& node, const Clock& clock, std::int64_t pid)
      : RecordingWorker(node, clock, pid), pid_(pid)
  {
    obey([this](const ControlMessage& message) {
      if (const auto* abort = std::get_if<Abort>(&message))
        if (abort->name.job_epoch > status.promised) promise(abort->name.job_epoch);
      if (const auto* epoch = std::get_if<EpochAnnouncement>(&message)) enter_epoch(*epoch);
      if (const auto* pending = std::get_if<PendingAnnouncement>(&message)) hear_of(*pending);
      if (std::holds_alternative<Release>(message)) released_ = true;
    });
  }
  ~ObedientWorker() { hang_up(); }
  std::int64_t pid() const { return pid_; }
  bool contradicted() const { return contradicted_; }
  bool released() const { return released_; }
  // The newest planned number that it was told of, above the one it is in.
  Number pending() const { return Number(pending_.load()); }
  void switch_to_pending() { switch_to(pending(), StepId(7), lists_.at(pending())); }
  void wish_to_leave()
  {
    status.wants_to_leave = true;
    say();
  }

 private:
  MemberListPtr resolve(Number number, const MemberListUpdate& update)
  {
    const auto from = lists_.find(update.relative_to);
    const auto list = apply_update(from == lists_.end() ? nullptr : from->second.get(), update);
    if (!list.ok() || (lists_.contains(number) && lists_[number]->hash() != (*list)->hash()))
      contradicted_ = true;
    return list.ok() ? lists_[number] = *list : nullptr;
  }
  void enter_epoch(const EpochAnnouncement& epoch)
  {
    const Number number = epoch.name.job_epoch;
    const auto [at, fresh] = bases_.try_emplace(number, epoch.base);
    if (!fresh && at->second != epoch.base) contradicted_ = true;
    if (number < status.promised || number <= status.installed) return;
    resolve(number, epoch.members);
    install(epoch);
  }
  void hear_of(const PendingAnnouncement& announced)
  {
    const Number number = announced.name.job_epoch;
    if (number > pending() && resolve(number, announced.members) != nullptr)
      pending_ = number.value();
  }

  const std::int64_t pid_;
  std::map<Number, StateName> bases_;
  std::map<Number, MemberListPtr> lists_;
  std::atomic<std::uint64_t> pending_{0};
  std::atomic<bool> contradicted_{false};
  std::atomic<bool> released_{false};
};

// What a story may do. The coordinator dies on the way, and its successor has to bring it about.
struct Stage
{
  std::function<ObedientWorker&()> start;  // it enters beside the story
  std::function<void(const ObedientWorker&)> kill;
  std::function<void(const std::function<bool()>&)> reach;  // waits for it

  void reach_epoch_of(std::initializer_list<const ObedientWorker*> workers)
  {
    reach([&] {
      return std::all_of(workers.begin(), workers.end(), [&](const ObedientWorker* worker) {
        return worker->epoch_size() == workers.size();
      });
    });
  }
};
using Story = std::function<void(Stage&)>;

void one_is_killed(Stage& stage)
{
  const ObedientWorker &a = stage.start(), &b = stage.start();
  stage.reach_epoch_of({&a, &b});
  const Number first = a.epoch();
  EXPECT_EQ(first, b.epoch());
  stage.kill(b);
  stage.reach_epoch_of({&a});
  EXPECT_GT(a.epoch(), first);
}

// The second while the first is handled.
void two_are_killed(Stage& stage)
{
  const ObedientWorker &a = stage.start(), &b = stage.start(), &c = stage.start();
  stage.reach_epoch_of({&a, &b, &c});
  stage.kill(b);
  stage.kill(c);
  stage.reach_epoch_of({&a});
}

void one_leaves(Stage& stage)
{
  ObedientWorker &a = stage.start(), &b = stage.start();
  stage.reach_epoch_of({&a, &b});
  b.wish_to_leave();
  stage.reach([&] { return a.pending() && a.pending() == b.pending(); });
  a.switch_to_pending();
  b.switch_to_pending();
  EXPECT_EQ(a.epoch_size(), 1U);
  stage.reach([&] { return b.released(); });
}

void one_joins(Stage& stage)
{
  ObedientWorker &a = stage.start(), &b = stage.start();
  stage.reach_epoch_of({&a, &b});
  ObedientWorker& c = stage.start();
  stage.reach(
      [&] { return c.pending() && a.pending() == c.pending() && b.pending() == c.pending(); });
  a.switch_to_pending();
  b.switch_to_pending();
  c.switch_to_pending();
  EXPECT_EQ(c.epoch_size(), 3U);
}

// A joiner dies before the number that takes it in is entered.
void a_joiner_is_killed(Stage& stage)
{
  ObedientWorker &a = stage.start(), &b = stage.start();
  stage.reach_epoch_of({&a, &b});
  ObedientWorker& c = stage.start();
  stage.reach([&] { return c.pending() && a.pending() == c.pending(); });
  const Number with_it = c.pending();
  stage.kill(c);
  stage.reach([&] { return a.pending() > with_it && a.pending() == b.pending(); });
  a.switch_to_pending();
  b.switch_to_pending();
  EXPECT_EQ(a.epoch_size(), 2U);
}

class DeathAtWriteTest : public RunnerTest
{
 protected:
  // Whether the coordinator died on the way.
  bool play(const Story& story, const MakeStore& make_store, int dies_at, bool write_is_done)
  {
    auto dying = std::make_unique<DyingStore>(make_store(), dies_at, write_is_done);
    DyingStore& store = *dying;
    open_on(std::move(dying));
    NodeHello hello = node_hello(3);
    hello.options.workers_min = 1;
    auto node = InProcessNode::connect(*runner_, hello, clock_);
    bool died = false;
    const auto is_ready = [](const std::future<absl::Status>& status) {
      return status.wait_for(Duration(0)) == std::future_status::ready;
    };
    std::vector<std::unique_ptr<ObedientWorker>> workers;
    std::vector<std::future<absl::Status>> entered;
    Stage stage;
    stage.start = [&]() -> ObedientWorker& {
      const auto pid = static_cast<std::int64_t>(101 + workers.size());
      ObedientWorker& worker =
          *workers.emplace_back(std::make_unique<ObedientWorker>(*node, clock_, pid));
      entered.push_back(std::async(std::launch::async, [&worker] { return worker.enter(); }));
      return worker;
    };
    stage.kill = [&](const ObedientWorker& worker) {
      node->session().report_exited(worker.pid(), {.exit_code = 0, .signal = 9, .last_words = ""});
    };
    stage.reach = [&](const std::function<bool()>& goal) {
      const MonotonicTime give_up = system_clock().now() + kSoon;
      while (!goal() && system_clock().now() < give_up)
      {
        if (!died && store.dead())
        {
          died = true;
          open_on(make_store());
          node->reconnect(*runner_);
        }
        settle();
        // The last call for the first epoch ends once all who have started are in.
        if (!std::all_of(entered.begin(), entered.end(), is_ready)) continue;
        clock_.advance(std::chrono::milliseconds(20));
        node->session().send_heartbeat(clock_.now());
      }
      EXPECT_TRUE(goal()) << to_text(settle(), true);
    };
    story(stage);
    stage.reach([&] {
      const JobReport report = settle();
      return report.epoch == workers[0]->epoch() && !report.open_abort && !report.pending;
    });
    for (const auto& worker : workers) EXPECT_FALSE(worker->contradicted());
    for (auto& status : entered) EXPECT_TRUE(status.get().ok());
    workers.clear();
    node.reset();
    runner_.reset();
    return died;
  }

  // At the first write, the second, … until there are no more.
  int deaths(const Story& story, const std::function<MakeStore()>& fresh_disk)
  {
    int n = 0;
    for (const bool write_is_done : {false, true})
      for (int dies_at = 1; dies_at < 100; ++dies_at)
      {
        SCOPED_TRACE(absl::StrCat("dies at write ", dies_at, write_is_done ? ", done" : ", lost"));
        if (!play(story, fresh_disk(), dies_at, write_is_done) || HasFailure()) break;
        ++n;
      }
    return n;
  }
  int deaths_in_memory(const Story& story)
  {
    return deaths(story, [] {
      const std::shared_ptr<MemoryDisk> disk = make_memory_disk();
      return [disk] { return open_memory_store(disk); };
    });
  }
};

// The successor goes on or finishes the change.
TEST_F(DeathAtWriteTest, AfterAKill)
{
  EXPECT_GE(deaths_in_memory(one_is_killed), 8);
}
TEST_F(DeathAtWriteTest, AfterASecondKill)
{
  EXPECT_GE(deaths_in_memory(two_are_killed), 8);
}
TEST_F(DeathAtWriteTest, WhileOneLeaves)
{
  EXPECT_GE(deaths_in_memory(one_leaves), 8);
}
TEST_F(DeathAtWriteTest, WhileOneJoins)
{
  EXPECT_GE(deaths_in_memory(one_joins), 8);
}
TEST_F(DeathAtWriteTest, AfterTheKillOfAJoiner)
{
  EXPECT_GE(deaths_in_memory(a_joiner_is_killed), 8);
}

TEST_F(DeathAtWriteTest, OverOneFile)
{
  const auto folder =
      std::filesystem::temp_directory_path() / absl::StrCat("spillway_death_at_write_", ::getpid());
  std::filesystem::create_directories(folder);
  int files = 0;
  const int n = deaths(one_is_killed, [&] {
    const auto file = folder / absl::StrCat(++files, ".db");
    return [file]() -> std::unique_ptr<Store> {
      auto store = open_sqlite_store(file);
      EXPECT_TRUE(store.ok()) << store.status();
      return *std::move(store);
    };
  });
  EXPECT_GE(n, 8);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace spillway::coordinator
