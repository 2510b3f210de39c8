// SPDX-License-Identifier: Apache-2.0
// The coordinator dies at each of its writes, with the write lost or done, and a successor goes on.
#include <unistd.h>

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
      : RecordingWorker(node, clock, pid)
  {
    obey([this](const ControlMessage& message) {
      if (const auto* abort = std::get_if<Abort>(&message))
        if (abort->name.job_epoch > status.promised) promise(abort->name.job_epoch);
      if (const auto* epoch = std::get_if<EpochAnnouncement>(&message)) enter_epoch(*epoch);
    });
  }
  ~ObedientWorker() { hang_up(); }
  bool contradicted() { return contradicted_; }

 private:
  void enter_epoch(const EpochAnnouncement& epoch)
  {
    const Number number = epoch.name.job_epoch;
    const auto [at, fresh] = bases_.try_emplace(number, epoch.base);
    if (!fresh && at->second != epoch.base) contradicted_ = true;
    if (number >= status.promised && number > status.installed) install(epoch);
  }
  std::map<Number, StateName> bases_;
  bool contradicted_ = false;
};

class DeathAtWriteTest : public RunnerTest
{
 protected:
  // Two workers form an epoch, one is killed, the other goes on alone. Whether the coordinator
  // died on the way.
  bool story(const MakeStore& make_store, int dies_at, bool write_is_done)
  {
    auto dying = std::make_unique<DyingStore>(make_store(), dies_at, write_is_done);
    DyingStore& store = *dying;
    open_on(std::move(dying));
    auto node = InProcessNode::connect(*runner_, node_hello(2), clock_);
    bool died = false;
    const auto reach = [&](const std::function<bool()>& goal) {
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
      }
      EXPECT_TRUE(goal()) << to_text(settle(), true);
    };
    {
      ObedientWorker a(*node, clock_, 101);
      ObedientWorker b(*node, clock_, 102);
      std::vector<std::future<absl::Status>> entered;
      for (ObedientWorker* worker : {&a, &b})
        entered.push_back(std::async(std::launch::async, [worker] { return worker->enter(); }));
      reach([&] { return a.epoch_size() == 2 && b.epoch_size() == 2; });
      const Number first = a.epoch();
      EXPECT_EQ(first, b.epoch());
      node->session().report_exited(102, {.exit_code = 0, .signal = 9, .last_words = ""});
      reach([&] { return a.epoch_size() == 1; });
      EXPECT_GT(a.epoch(), first);
      reach([&] {
        const JobReport report = settle();
        return report.epoch == a.epoch() && report.open_abort == Number();
      });
      EXPECT_FALSE(a.contradicted());
      EXPECT_FALSE(b.contradicted());
      for (auto& status : entered) EXPECT_TRUE(status.get().ok());
    }
    node.reset();
    runner_.reset();
    return died;
  }

  // At the first write, the second, … until there are no more.
  int deaths(const std::function<MakeStore()>& fresh_disk)
  {
    int n = 0;
    for (const bool write_is_done : {false, true})
      for (int dies_at = 1; dies_at < 100; ++dies_at)
      {
        SCOPED_TRACE(absl::StrCat("dies at write ", dies_at, write_is_done ? ", done" : ", lost"));
        if (!story(fresh_disk(), dies_at, write_is_done) || HasFailure()) break;
        ++n;
      }
    return n;
  }
};

TEST_F(DeathAtWriteTest, TheSuccessorGoesOnOrFinishesTheChange)
{
  const int n = deaths([] {
    const std::shared_ptr<MemoryDisk> disk = make_memory_disk();
    return [disk] { return open_memory_store(disk); };
  });
  EXPECT_GE(n, 8);
}

TEST_F(DeathAtWriteTest, TheSameOverOneFile)
{
  const auto folder =
      std::filesystem::temp_directory_path() / absl::StrCat("spillway_death_at_write_", ::getpid());
  std::filesystem::create_directories(folder);
  int files = 0;
  const int n = deaths([&] {
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
