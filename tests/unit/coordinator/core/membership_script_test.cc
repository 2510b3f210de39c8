// SPDX-License-Identifier: Apache-2.0
// Runs scripts/*.txt against the membership core. Events:
//   config min=1 max=4 [alone=1]      a fresh job; alone: nobody else may come
//   new                               a new process greets
//   back W                            worker W greets again with its status
//   status W key=value…               changes and reports the status of W
//   gone W | silent W | exit W        connection lost, judged silent, known dead
//   plan WORD [urgent] | end WORD | adopt LINEAGE
//   pass SECONDS                      time passes, with a Tick at every deadline
//   probe W PEER                      W reached PEER
//   waits W NUMBER STEP SECONDS       W has handed in, waits, and says so every second
//   computes W NUMBER STEP SECONDS    W has begun the step, or ended it, and goes on computing
//     busy=W                          meanwhile W is busy, and says so every second
//   explain                           what happens next
//   restart                           the coordinator starts again from its record
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "script/script.h"
#include "spillway/coordinator/membership.h"

namespace spillway::testing {
namespace {

std::uint64_t to_number(absl::string_view text)
{
  std::uint64_t value = 0;
  EXPECT_TRUE(absl::SimpleAtoi(text, &value)) << text;
  return value;
}

// "4.17" is the state after step 17 of number 4; "" is none.
std::optional<StateName> to_state(const std::string& text)
{
  if (text.empty()) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(text, '.');
  return StateName{Number(to_number(parts.at(0))), StepId(to_number(parts.at(1)))};
}

std::string ids(const std::vector<WorkerId>& workers)
{
  if (workers.empty()) return "none";
  return absl::StrJoin(workers, ",",
                       [](std::string* out, WorkerId id) { absl::StrAppend(out, id.value()); });
}

std::string update_text(const MemberListUpdate& update)
{
  std::vector<WorkerId> added;
  for (const MemberInfo& info : update.added) added.push_back(info.worker);
  return absl::StrCat(
      update.relative_to ? absl::StrCat(" against ", update.relative_to.value()) : " whole",
      added.empty() ? "" : " +" + ids(added),
      update.removed.empty() ? "" : " -" + ids(update.removed));
}

struct MessageText
{
  std::string operator()(const Abort& m) const { return number("abort ", m.name); }
  std::string operator()(const EpochAnnouncement& m) const
  {
    return absl::StrCat(number("epoch ", m.name), update_text(m.members), " base ",
                        to_string(m.base), m.initial ? " initial" : "",
                        m.copiers.lists_holders ? " holders " : " copiers ",
                        ids(m.copiers.workers));
  }
  std::string operator()(const PendingAnnouncement& m) const
  {
    return absl::StrCat(number("pending ", m.name), update_text(m.members));
  }
  std::string operator()(const ProbeRequest& m) const
  {
    return absl::StrCat("probe ", m.peer.worker.value());
  }
  std::string operator()(const Release& m) const
  {
    return absl::StrCat("release: ", end_reason_name(m.reason));
  }
  static std::string number(const char* what, const EpochName& name)
  {
    return absl::StrCat(what, name.job_epoch.value());
  }
};

struct ActionText
{
  std::string operator()(const Persist& a) const
  {
    return absl::StrCat("persist newest ", a.record->newest.value(), " pending ",
                        a.record->pending.value(), " abort ", a.record->open_abort.value(),
                        " last ", a.record->last_number.value());
  }
  std::string operator()(const Send& a) const
  {
    return absl::StrCat("to ", ids(a.to), ": ", std::visit(MessageText(), a.message));
  }
  std::string operator()(const Accept& a) const
  {
    return absl::StrCat("accept ", a.worker.value());
  }
  std::string operator()(const Refuse& a) const
  {
    return absl::StrCat("refuse: ", a.status.message());
  }
  std::string operator()(const Evict& a) const
  {
    return absl::StrCat("evict ", a.worker.value(), ": ", a.reason);
  }
  std::string operator()(const RecordIsOld& a) const
  {
    return absl::StrCat("the record is old: ", a.why);
  }
  std::string operator()(const Decision& a) const { return absl::StrCat(a.rule, ": ", a.text); }
  std::string operator()(const JobEnded& a) const
  {
    return absl::StrCat("ended: ", end_reason_name(a.reason));
  }
};

class Interpreter
{
 public:
  std::vector<std::string> operator()(const ScriptLine& line)
  {
    if (line.command == "config") return configure(line);
    if (line.command == "restart") return restart();
    if (line.command == "pass") return pass(std::chrono::seconds(line.number(0)));
    if (line.command == "waits" || line.command == "zeros" || line.command == "computes")
      return repeat(line);
    if (line.command == "new") return greet();
    if (line.command == "explain") return {core_->explain(now_).next};
    return texts(core_->step(event(line), now_));
  }

 private:
  std::vector<std::string> configure(const ScriptLine& line)
  {
    config_.min_members = to_number(line.settings.at("min"));
    config_.max_members = to_number(line.settings.at("max"));
    config_.others_may_come = !line.settings.contains("alone");
    core_ = std::make_unique<MembershipCore>(config_, std::nullopt, kLineage, now_);
    return {};
  }

  std::vector<std::string> restart()
  {
    // Through the stored form, so that what it lacks is noticed.
    auto record = JobRecord::decode(as_bytes(core_->record().encode()));
    EXPECT_TRUE(record.ok()) << record.status();
    core_ = std::make_unique<MembershipCore>(config_, *record, Lineage(99), now_);
    return texts(core_->step(Tick{}, now_));
  }

  std::vector<std::string> pass(std::chrono::seconds span)
  {
    std::vector<std::string> out;
    const MonotonicTime end = now_ + span;
    while (core_->next_deadline() <= end)
    {
      now_ = std::max(now_, core_->next_deadline());
      const MonotonicTime before = core_->next_deadline();
      for (std::string& text : texts(core_->step(Tick{}, now_))) out.push_back(std::move(text));
      if (core_->next_deadline() == before) break;
    }
    now_ = end;
    return out;
  }

  std::vector<std::string> repeat(const ScriptLine& line)
  {
    using Phase = ProgressReport::Phase;
    ProgressReport report{.name = EpochName::one_site(kLineage, Number(line.number(1))),
                          .step = StepId(line.number(2))};
    if (line.command == "computes") report.phase = Phase::kComputing;
    if (line.command == "zeros") report.phase = Phase::kHandedInZeros;
    // Its loop is between two steps, and the last was of the number before.
    const ProgressReport busy{.name = EpochName::one_site(kLineage, Number(line.number(1) - 1)),
                              .step = StepId(line.number(2) - 1),
                              .phase = Phase::kBusy,
                              .busy_limit = std::chrono::minutes(30)};
    std::vector<std::string> out;
    const auto feed = [&](WorkerId worker, const ProgressReport& what) {
      for (auto& text : texts(core_->step(ProgressReported{worker, what}, now_)))
        out.push_back(std::move(text));
    };
    for (std::uint64_t second = 0; second <= line.number(3); ++second)
    {
      report.lasts = std::chrono::seconds(second);
      for (absl::string_view id : absl::StrSplit(line.words.at(0), ','))
        feed(WorkerId(to_number(id)), report);
      if (line.settings.contains("busy")) feed(WorkerId(to_number(line.settings.at("busy"))), busy);
      for (std::string& text : pass(std::chrono::seconds(1))) out.push_back(std::move(text));
    }
    return out;
  }

  // A new process: greets, learns its id, and reports from then on.
  std::vector<std::string> greet()
  {
    const WorkerId next(next_worker_++);
    const Hello hello{.worker = {}, .info = info(next), .status = {}, .members = {}};
    std::vector<std::string> out = texts(core_->step(WorkerGreeted{next.value(), hello}, now_));
    status_[next].lineage = kLineage;
    for (std::string& text : texts(core_->step(StatusReported{next, status_[next]}, now_)))
      out.push_back(std::move(text));
    return out;
  }

  MembershipEvent event(const ScriptLine& line)
  {
    const std::string& c = line.command;
    if (c == "plan") return PlanRequested{line.words.at(0), line.words.size() > 1};
    if (c == "all_nodes_leave") return AllNodesLeave{};
    if (c == "end") return EndRequested{line.words.at(0)};
    if (c == "adopt") return AdoptRequested{Lineage(line.number(0))};
    if (c == "tick") return Tick{};
    const WorkerId worker(line.number(0));
    if (c == "back" || c == "status") return report(worker, line);
    if (c == "gone") return WorkerDisconnected{worker};
    if (c == "silent") return WorkerSilent{worker, "told"};
    if (c == "exit") return WorkerExited{worker, "killed by signal 9"};
    if (c == "probe") return ProbeReported{worker, {{}, WorkerId(line.number(1)), true}};
    ADD_FAILURE() << "unknown event " << c;
    return Tick{};
  }

  MembershipEvent report(WorkerId worker, const ScriptLine& line)
  {
    MemberStatus& status = status_[worker];
    status.lineage = kLineage;
    std::vector<MemberInfo> members;
    for (const auto& [key, value] : line.settings)
    {
      const auto number = [&value = value] { return Number(to_number(value)); };
      if (key == "promised")
        status.promised = number();
      else if (key == "installed")
        status.installed = number();
      else if (key == "current")
        status.current = number();
      else if (key == "from")
        status.switched_from = number();
      else if (key == "first")
        status.first_word = number();
      else if (key == "done")
        status.done = number();
      else if (key == "left")
        status.left = number();
      else if (key == "wants")
        status.wants_list = number();
      else if (key == "applied")
        status.applied = to_state(value);
      else if (key == "voted")
        status.voted = to_state(value);
      else if (key == "leave")
        status.wants_to_leave = true, status.leave_is_urgent = value == "urgent";
      else if (key == "lineage")
        status.lineage = Lineage(to_number(value));
      else if (key == "fault")
        status.fault = fault(value);
      else if (key == "unreachable")
        status.unreachable = {WorkerId(to_number(value))};
      else if (key == "members")
        for (absl::string_view id : absl::StrSplit(value, ','))
          members.push_back(info(WorkerId(to_number(id))));
      else
        ADD_FAILURE() << "unknown setting " << key;
    }
    if (line.command == "status") return StatusReported{worker, status};
    return WorkerGreeted{worker.value(), Hello{worker, info(worker), status, members}};
  }

  static std::optional<LinkFault> fault(const std::string& value)
  {
    const auto name = to_state(value);  // "3.2": worker 2 in number 3
    if (!name) return std::nullopt;
    return LinkFault{name->number, WorkerId(name->step.value())};
  }
  static MemberInfo info(WorkerId worker)
  {
    return {.worker = worker, .node = NodeId(1), .address = absl::StrCat("host:", worker.value())};
  }
  static std::vector<std::string> texts(const std::vector<MembershipAction>& actions)
  {
    std::vector<std::string> out;
    for (const MembershipAction& action : actions) out.push_back(std::visit(ActionText(), action));
    return out;
  }

  static constexpr Lineage kLineage{7};
  MembershipConfig config_;
  std::unique_ptr<MembershipCore> core_;
  std::map<WorkerId, MemberStatus> status_;
  std::uint64_t next_worker_ = 1;
  MonotonicTime now_{};
};

}  // namespace
}  // namespace spillway::testing

int main(int argc, char** argv)
{
  return spillway::testing::run_script_tests(argc, argv, SPILLWAY_SCRIPTS, [] {
    auto interpreter = std::make_shared<spillway::testing::Interpreter>();
    return
        [interpreter](const spillway::testing::ScriptLine& line) { return (*interpreter)(line); };
  });
}
