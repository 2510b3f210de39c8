// SPDX-License-Identifier: Apache-2.0
// Runs scripts/*.txt against the member core. Events, as worker 2 sees them:
//   connect | loop | leave | last STEP
//   abort N | epoch N 1,2,3 base=1.4 [copiers=3] [initial=1] | pending N 1,2 | release
//   reduced N STEP | word N STEP MIN MAX | applied N STEP | failed N STEP
//   prepared N | unreachable N PEER | lost N PEER | range N STEP INDEX
//   base N FROM STATE                   a member that switched names the base of N
//   lease SECONDS | pass SECONDS        the lease ends so long after now; time passes
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "script/script.h"
#include "spillway/engine/member.h"

namespace spillway::testing {
namespace {

std::uint64_t to_number(absl::string_view text)
{
  std::uint64_t value = 0;
  EXPECT_TRUE(absl::SimpleAtoi(text, &value)) << text;
  return value;
}

StateName to_state(const std::string& text)
{
  const std::vector<std::string> parts = absl::StrSplit(text, '.');
  return {Number(to_number(parts.at(0))), StepId(to_number(parts.at(1)))};
}

std::vector<WorkerId> to_ids(const std::string& text)
{
  std::vector<WorkerId> out;
  for (absl::string_view id : absl::StrSplit(text, ',', absl::SkipEmpty()))
    out.push_back(WorkerId(to_number(id)));
  return out;
}

std::string ids(const std::vector<WorkerId>& workers)
{
  if (workers.empty()) return "none";
  return absl::StrJoin(workers, ",",
                       [](std::string* out, WorkerId id) { absl::StrAppend(out, id.value()); });
}

std::string status_text(const MemberStatus& s)
{
  std::string out = absl::StrCat("promised ", s.promised.value(), " installed ",
                                 s.installed.value(), " current ", s.current.value());
  if (s.applied) absl::StrAppend(&out, " applied ", to_string(*s.applied));
  if (s.voted) absl::StrAppend(&out, " voted ", to_string(*s.voted));
  if (s.fault)
    absl::StrAppend(&out, " fault ", s.fault->peer.value(), " in ", s.fault->number.value());
  if (s.first_word) absl::StrAppend(&out, " first word ", s.first_word.value());
  if (s.done) absl::StrAppend(&out, " done ", s.done.value());
  if (s.left) absl::StrAppend(&out, " left ", s.left.value());
  if (s.wants_to_leave) absl::StrAppend(&out, " wants to leave");
  if (!s.unreachable.empty()) absl::StrAppend(&out, " unreachable ", ids(s.unreachable));
  if (s.wants_list) absl::StrAppend(&out, " wants list ", s.wants_list.value());
  return out;
}

struct ActionText
{
  std::string operator()(const SendStatus& a) const { return "status " + status_text(a.status); }
  std::string operator()(const SendProbeResult& a) const
  {
    return absl::StrCat("probe result ", a.result.peer.value());
  }
  std::string operator()(const Prepare& a) const { return named("prepare", a.number); }
  std::string operator()(const DropPrepared& a) const { return named("drop", a.number); }
  std::string operator()(const StopNumber& a) const { return named("stop", a.number); }
  std::string operator()(const EnterEpoch& a) const
  {
    return absl::StrCat(named("enter", a.number), " base ", to_string(a.base));
  }
  std::string operator()(const SwitchTo& a) const
  {
    return absl::StrCat(named("switch to", a.number), " from ", a.switched_from.value(), " base ",
                        to_string(a.base), " joiners ", ids(a.joiners));
  }
  std::string operator()(const JoinNumber& a) const
  {
    return absl::StrCat(named("join", a.number), " base ", to_string(a.base));
  }
  std::string operator()(const CloseNumber& a) const
  {
    return absl::StrCat(named("close", a.number),
                        a.keep.empty() ? "" : " but not towards " + ids(a.keep));
  }
  std::string operator()(const LeaveNumber& a) const { return named("leave", a.number); }
  std::string operator()(const StandAside& a) const { return named("stand aside in", a.epoch); }
  std::string operator()(const CopyBase& a) const
  {
    return absl::StrCat("copy ", to_string(a.base), " from ", ids(a.donors), ", have ",
                        std::count(a.have.begin(), a.have.end(), true), " of ", a.have.size());
  }
  std::string operator()(const InstallRange& a) const
  {
    return absl::StrCat("install range ", a.range, a.completes ? ": complete" : "");
  }
  std::string operator()(const StopCopying&) const { return "stop copying"; }
  std::string operator()(const AdoptInitialState&) const { return "adopt initial state"; }
  std::string operator()(const BeginStep& a) const
  {
    return absl::StrCat("begin step ", a.name.step.value(), " of ", a.name.job_epoch.value(),
                        a.contributes_zeros ? " with zeros" : "",
                        a.control_only ? ", control only" : "");
  }
  std::string operator()(const CastVote& a) const
  {
    return absl::StrCat("vote step ", a.name.step.value(), " naming ", a.prepared.value());
  }
  std::string operator()(const Apply& a) const { return "apply " + to_string(a.state); }
  std::string operator()(const RollForward& a) const
  {
    return "roll forward to " + to_string(a.state);
  }
  std::string operator()(const Finished& a) const { return named("finished", a.number); }
  std::string operator()(const Exit& a) const
  {
    return absl::StrCat("exit: ", end_reason_name(a.reason));
  }
  std::string operator()(const ProbePeer& a) const
  {
    return absl::StrCat("probe ", a.peer.worker.value());
  }
  std::string operator()(const MemberDecision& a) const
  {
    return absl::StrCat(a.rule, ": ", a.text);
  }
  std::string operator()(const RuleBroken& a) const { return "RULE BROKEN: " + a.text; }
  static std::string named(const char* what, Number number)
  {
    return absl::StrCat(what, " ", number.value());
  }
};

class Interpreter
{
 public:
  std::vector<std::string> operator()(const ScriptLine& line)
  {
    if (line.command == "pass") now_ += std::chrono::seconds(line.number(0));
    std::vector<std::string> out;
    for (const MemberAction& action : core_.step(event(line), now_))
      out.push_back(std::visit(ActionText(), action));
    return out;
  }

 private:
  MemberEvent event(const ScriptLine& line)
  {
    const std::string& c = line.command;
    const auto number = [&](std::size_t i) { return Number(line.number(i)); };
    const auto step = [&](std::size_t i) { return StepId(line.number(i)); };
    if (c == "connect") return ConnectionUp{};
    if (c == "loop") return LoopReady{};
    if (c == "leave") return LeaveRequested{};
    if (c == "last") return LastStepAgreed{step(0)};
    if (c == "reduced") return BucketsReduced{number(0), step(1)};
    if (c == "word") return WordComplete{number(0), step(1), number(2), number(3)};
    if (c == "applied" || c == "failed") return Applied{{number(0), step(1)}, c == "applied"};
    if (c == "prepared") return Prepared{number(0)};
    if (c == "unreachable") return PeersUnreachable{number(0), {WorkerId(line.number(1))}};
    if (c == "lost") return LinkLost{number(0), WorkerId(line.number(1)), "closed"};
    if (c == "range") return RangeArrived{{number(0), step(1)}, line.number(2)};
    if (c == "base")
      return BaseNamed{number(0), number(1), to_state(line.words.at(2)), StepId(), WorkerId(1)};
    if (c == "lease") return LeaseExtended{now_ + std::chrono::seconds(line.number(0))};
    if (c == "pass") return LeaseExtended{};  // of no effect: never earlier than before
    return ControlReceived{control(line)};
  }

  static ControlMessage control(const ScriptLine& line)
  {
    const std::string& c = line.command;
    if (c == "release")
      return Release{EpochName::one_site(kLineage, Number(1)), EndReason::kReleased, ""};
    const EpochName name = EpochName::one_site(
        line.settings.contains("lineage") ? Lineage(9) : kLineage, Number(line.number(0)));
    if (c == "abort") return Abort{name};
    std::vector<MemberInfo> infos;
    for (WorkerId id : to_ids(line.words.at(1)))
      infos.push_back({.worker = id, .node = NodeId(1), .address = "a"});
    MemberListUpdate update = whole_list(*MemberList::make(infos));
    if (line.settings.contains("against"))
      update.relative_to = Number(to_number(line.settings.at("against")));
    if (c == "pending") return PendingAnnouncement{name, update, {}};
    EXPECT_EQ(c, "epoch");
    EpochAnnouncement epoch;
    epoch.name = name;
    epoch.members = update;
    epoch.base = to_state(line.settings.at("base"));
    epoch.initial = line.settings.contains("initial");
    if (line.settings.contains("copiers"))
      epoch.copiers.workers = to_ids(line.settings.at("copiers"));
    return epoch;
  }

  static constexpr Lineage kLineage{7};
  MemberCore core_{MemberConfig{
      .self = WorkerId(2), .lineage = kLineage, .range_count = 2, .last_step = StepId()}};
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
