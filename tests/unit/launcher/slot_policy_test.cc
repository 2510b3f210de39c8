// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/slot_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spillway/launcher/exit_code.h"

namespace spillway {
namespace {

ExitReason exited(int code)
{
  return {ExitReason::How::kExited, code, false};
}
ExitReason killed(int signal)
{
  return {ExitReason::How::kSignaled, signal, false};
}

// "start 0#1, stop 1, finish 3": what a script of events leads to.
std::string words(const std::vector<SlotAction>& actions)
{
  std::vector<std::string> out;
  for (const SlotAction& action : actions)
  {
    switch (action.kind)
    {
      case SlotAction::Kind::kStart:
        out.push_back(absl::StrCat("start ", action.slot, "#", action.restart_count));
        break;
      case SlotAction::Kind::kStop:
        out.push_back(absl::StrCat("stop ", action.slot));
        break;
      case SlotAction::Kind::kKill:
        out.push_back(absl::StrCat("kill ", action.slot));
        break;
      case SlotAction::Kind::kGiveUp:
        out.push_back(absl::StrCat("give up ", action.slot));
        break;
      case SlotAction::Kind::kAskForRound:
        out.push_back("ask");
        break;
      case SlotAction::Kind::kFinish:
        out.push_back(absl::StrCat("finish ", action.exit_code));
        break;
    }
  }
  return absl::StrJoin(out, ", ");
}

struct Plain
{
  SlotPolicyState state;
  explicit Plain(int slots, std::optional<int> restarts = std::nullopt) : state(slots, restarts) {}
  std::string ends(int slot, ExitReason reason)
  {
    return words(slot_policy(state, WorkerExit{slot, reason}));
  }
};

struct Elastic
{
  SlotPolicyState state;
  explicit Elastic(int slots, std::optional<int> restarts = std::nullopt) : state(slots, restarts)
  {
  }
  std::string ends(int slot, ExitReason reason, bool applied = true, bool leaving = false)
  {
    return words(slot_policy(state, WorkerExit{slot, reason, true, applied, leaving}));
  }
};

TEST(PlainPolicy, AllSucceed)
{
  Plain job(2);
  EXPECT_EQ(job.ends(1, exited(0)), "");
  EXPECT_EQ(job.ends(0, exited(0)), "finish 0");
}

TEST(PlainPolicy, ALossWithoutRestartsStopsAllAndEndsWithItsCode)
{
  Plain job(3);
  EXPECT_EQ(job.ends(1, exited(7)), "stop 0, stop 2");
  EXPECT_EQ(job.ends(0, killed(SIGTERM)), "");
  EXPECT_EQ(job.ends(2, killed(SIGKILL)), "finish 7");
}

TEST(PlainPolicy, ASignalIs128AndItsNumber)
{
  Plain job(1);
  EXPECT_EQ(job.ends(0, killed(SIGSEGV)), absl::StrCat("finish ", 128 + SIGSEGV));
}

TEST(PlainPolicy, ALossRestartsAllWorkersAlsoThoseThatWereDone)
{
  Plain job(3, 1);
  EXPECT_EQ(job.ends(2, exited(0)), "");
  EXPECT_EQ(job.ends(1, exited(7)), "stop 0");
  EXPECT_EQ(job.ends(0, exited(0)), "start 0#1, start 1#1, start 2#1");
  EXPECT_EQ(job.ends(0, exited(0)), "");
  EXPECT_EQ(job.ends(1, exited(0)), "");
  EXPECT_EQ(job.ends(2, exited(0)), "finish 0");
}

TEST(PlainPolicy, ALoopOfDeathsStopsAtMaxRestarts)
{
  Plain job(1, 2);
  EXPECT_EQ(job.ends(0, exited(3)), "start 0#1");
  EXPECT_EQ(job.ends(0, exited(3)), "start 0#2");
  EXPECT_EQ(job.ends(0, exited(4)), "finish 4");
  EXPECT_EQ(job.ends(0, exited(4)), "") << "nothing happens after the end";
}

TEST(PlainPolicy, WhatCannotBeStartedAgainEndsTheJob)
{
  Plain job(2, 1000);
  EXPECT_EQ(job.ends(0, exited(1)), "stop 1");
  EXPECT_EQ(job.ends(1, exited(143)), "start 0#1, start 1#1");
  const auto fails = [&](int slot) {
    return words(
        slot_policy(job.state, WorkerExit{.slot = slot, .reason = exited(127), .refused = true}));
  };
  EXPECT_EQ(fails(0), "stop 1");
  EXPECT_EQ(fails(1), "finish 127");
}

TEST(PlainPolicy, TwoLossesAtOnceCostOneRestart)
{
  Plain job(2, 1);
  EXPECT_EQ(job.ends(0, exited(1)), "stop 1");
  EXPECT_EQ(job.ends(1, exited(1)), "start 0#1, start 1#1");
}

TEST(PlainPolicy, ASignalToTheAgentStopsAllAndIsTheCode)
{
  Plain job(2, 5);
  EXPECT_EQ(words(slot_policy(job.state, StopRequest{SIGTERM})), "stop 0, stop 1");
  EXPECT_EQ(job.ends(0, killed(SIGTERM)), "");
  EXPECT_EQ(job.ends(1, exited(0)), "finish 143");
}

TEST(PlainPolicy, TheSecondSignalKills)
{
  Plain job(1);
  EXPECT_EQ(words(slot_policy(job.state, StopRequest{SIGINT})), "stop 0");
  EXPECT_EQ(words(slot_policy(job.state, StopRequest{SIGINT})), "kill 0");
  EXPECT_EQ(job.ends(0, killed(SIGKILL)), "finish 130");
}

TEST(PlainPolicy, ASignalDuringARestartEndsIt)
{
  Plain job(2, 5);
  EXPECT_EQ(job.ends(0, exited(1)), "stop 1");
  EXPECT_EQ(words(slot_policy(job.state, StopRequest{SIGTERM})), "stop 1");
  EXPECT_EQ(job.ends(1, killed(SIGTERM)), "finish 143");
}

TEST(ElasticPolicy, AKilledWorkerIsReplacedAloneAndDoesNotCount)
{
  Elastic job(3);
  for (int i = 1; i <= 9; ++i) EXPECT_EQ(job.ends(1, killed(SIGKILL)), absl::StrCat("start 1#", i));
  EXPECT_EQ(job.ends(0, exited(0)), "");
  EXPECT_EQ(job.ends(1, exited(0)), "");
  EXPECT_EQ(job.ends(2, exited(0)), "finish 0") << "survived kills do not count";
}

TEST(ElasticPolicy, DeathsBeforeTheFirstStepAreCountedPerSlot)
{
  Elastic job(2);
  for (int i = 1; i <= 3; ++i)
    EXPECT_EQ(job.ends(0, exited(5), false), absl::StrCat("start 0#", i));
  EXPECT_EQ(job.ends(1, exited(5), false), "start 1#1") << "the other slot has a budget of its own";
  EXPECT_EQ(job.ends(0, exited(5), false), "give up 0") << "slot 1 goes on";
  EXPECT_EQ(job.state.slots[0].phase, SlotPhase::kGivenUp);
  EXPECT_EQ(job.ends(1, exited(0)), "finish 0");
}

TEST(ElasticPolicy, WhenEverySlotGaveUpTheLastCodeIsTheJobs)
{
  Elastic job(1, 1);
  EXPECT_EQ(job.ends(0, killed(SIGABRT), false), "start 0#1");
  EXPECT_EQ(job.ends(0, killed(SIGABRT), false), absl::StrCat("finish ", 128 + SIGABRT));
}

TEST(ElasticPolicy, WhoWasToldToLeaveIsNotReplaced)
{
  Elastic job(2);
  EXPECT_EQ(job.ends(0, exited(0), true, true), "");
  EXPECT_EQ(job.state.slots[0].phase, SlotPhase::kLeft);
  EXPECT_EQ(job.ends(1, killed(SIGKILL), true, true), "finish 0")
      << "nor when it is killed meanwhile";
}

TEST(ElasticPolicy, ASignalToTheAgentIsAPlannedDeparture)
{
  Elastic job(2);
  job.state.anybody_registered = true;
  EXPECT_EQ(words(slot_policy(job.state, StopRequest{SIGTERM})), "stop 0, stop 1");
  EXPECT_EQ(job.ends(0, exited(0)), "");
  EXPECT_EQ(job.ends(1, exited(0)), "finish 0");
}

TEST(ElasticPolicy, ADepartureThatHadToBeForcedIsNone)
{
  Elastic job(1);
  job.state.anybody_registered = true;
  EXPECT_EQ(words(slot_policy(job.state, StopRequest{SIGTERM})), "stop 0");
  EXPECT_EQ(job.ends(0, killed(SIGKILL)), "finish 143");
}

// The coordinator calls the job released once everybody was asked to leave: no word on who did.
TEST(ElasticPolicy, AForcedDepartureIsNoneWhateverIsHeardFirst)
{
  for (int heard_at = 0; heard_at <= 4; ++heard_at)
  {
    Elastic job(2);
    job.state.anybody_registered = true;
    std::string last;
    for (int at = 0; at <= 4; ++at)
    {
      if (at == heard_at) slot_policy(job.state, JobEnd{0, false, "released"});
      if (at < 2) slot_policy(job.state, StopRequest{SIGTERM});
      if (at == 2 || at == 3)
        last = words(slot_policy(
            job.state, WorkerExit{at - 2, killed(SIGKILL), true, true, true, false, true}));
    }
    EXPECT_EQ(last, "finish 143") << "released is heard as number " << heard_at;
  }
}

TEST(ElasticPolicy, AKillByOthersWithinADepartureIsSurvived)
{
  Elastic job(2);
  job.state.anybody_registered = true;
  slot_policy(job.state, StopRequest{SIGTERM});
  EXPECT_EQ(job.ends(0, killed(SIGKILL)), "");
  slot_policy(job.state, JobEnd{0, false, "released"});
  EXPECT_EQ(job.ends(1, exited(0)), "finish 0");
}

TEST(ElasticPolicy, TheCoordinatorEndsTheJob)
{
  Elastic job(2);
  EXPECT_EQ(job.ends(0, exited(9)), "start 0#1");
  EXPECT_EQ(words(slot_policy(job.state, JobEnd{76, true, "state lost"})), "stop 0, stop 1");
  EXPECT_EQ(job.ends(0, killed(SIGTERM)), "");
  EXPECT_EQ(job.ends(1, exited(11)), "finish 11") << "the worker's code, where one is known";
}

TEST(ElasticPolicy, AStoppedWorkerIsKilledAndThenReplaced)
{
  Elastic job(2);
  EXPECT_EQ(words(slot_policy(job.state, WorkerSilent{1, "stopped"})), "kill 1");
  EXPECT_EQ(job.ends(1, killed(SIGKILL)), "start 1#1");
}

TEST(ElasticPolicy, WhoWasRefusedIsNotReplaced)
{
  Elastic job(1);
  EXPECT_EQ(words(slot_policy(job.state, WorkerExit{0, exited(1), true, false, false, true})),
            "finish 1");
}

TEST(ElasticPolicy, AfterTheLastStepNobodyIsReplaced)
{
  Elastic job(3);
  job.state.anybody_registered = true;
  EXPECT_EQ(words(slot_policy(job.state, JobDone())), "");
  EXPECT_EQ(job.ends(0, exited(1), false), "") << "was still joining: ended nothing";
  EXPECT_EQ(job.ends(1, exited(0)), "");
  EXPECT_EQ(job.ends(2, exited(0)), "finish 0");
}

TEST(ElasticPolicy, AFailureAfterTheLastStepIsTheJobsCode)
{
  Elastic job(2);
  slot_policy(job.state, JobDone());
  EXPECT_EQ(job.ends(0, exited(0)), "");
  EXPECT_EQ(job.ends(1, exited(4)), "finish 4");
}

TEST(ElasticPolicy, AnEvictionAtTheEndIsSurvived)
{
  Elastic job(2);
  job.state.anybody_registered = true;
  slot_policy(job.state, JobDone());
  WorkerExit evicted{0, killed(SIGKILL), true, true};
  evicted.forced = true;
  EXPECT_EQ(words(slot_policy(job.state, evicted)), "");
  EXPECT_EQ(job.ends(1, exited(0)), "finish 0");
}

TEST(ElasticPolicy, ASlotThatWasGivenUpIsNotWhatTheJobEndedWith)
{
  Elastic job(2, 0);
  EXPECT_EQ(job.ends(0, exited(5), false), "give up 0");
  EXPECT_EQ(words(slot_policy(job.state, JobDone())), "");
  EXPECT_EQ(job.ends(1, exited(0)), "finish 0");
}

struct Rounds : Plain
{
  explicit Rounds(int slots, int restarts) : Plain(slots, restarts)
  {
    state.by_rounds = true;
    EXPECT_EQ(begins(1), "");
  }
  std::string begins(std::uint64_t round) { return words(slot_policy(state, RoundBegan{round})); }
};

TEST(RoundPolicy, ALossHereAsksAllNodes)
{
  Rounds job(2, 1);
  EXPECT_EQ(job.ends(0, exited(1)), "stop 1, ask");
  EXPECT_EQ(job.ends(1, killed(SIGTERM)), "") << "waits for the others";
  EXPECT_EQ(job.begins(2), "start 0#1, start 1#1");
  EXPECT_EQ(job.ends(0, exited(1)), "stop 1") << "no restarts left";
  EXPECT_EQ(job.ends(1, exited(0)), "finish 1");
}

TEST(RoundPolicy, TheRoundMayBeginBeforeTheLastProcessIsGone)
{
  Rounds job(2, 1);
  EXPECT_EQ(job.ends(0, exited(1)), "stop 1, ask");
  EXPECT_EQ(job.begins(2), "");
  EXPECT_EQ(job.ends(1, killed(SIGTERM)), "start 0#1, start 1#1");
}

TEST(RoundPolicy, ALossElsewhereRestartsWithoutCounting)
{
  Rounds job(1, 0);
  EXPECT_EQ(job.begins(2), "stop 0");
  EXPECT_EQ(job.ends(0, killed(SIGTERM)), "start 0#0");
  EXPECT_EQ(job.begins(2), "") << "an announcement that is repeated changes nothing";
}

TEST(RoundPolicy, WhomTheOthersLeftBehindStopsAndWaits)
{
  Rounds job(2, 0);
  EXPECT_EQ(words(slot_policy(job.state, RoundBegan{2, false})), "stop 0, stop 1");
  EXPECT_EQ(job.ends(0, killed(SIGTERM)), "");
  EXPECT_EQ(job.ends(1, killed(SIGTERM)), "");
  EXPECT_EQ(words(slot_policy(job.state, RoundBegan{3, false})), "");
  EXPECT_EQ(job.begins(4), "start 0#0, start 1#0");
}

TEST(RoundPolicy, WhoWaitsForARoundGoesWhenTheProgramHasEndedElsewhere)
{
  Rounds waits(1, 0);
  EXPECT_EQ(words(slot_policy(waits.state, RoundBegan{2, false})), "stop 0");
  EXPECT_EQ(waits.ends(0, killed(SIGTERM)), "");
  EXPECT_EQ(words(slot_policy(waits.state, JobDone())), "finish 0");

  Rounds stops(1, 0);
  EXPECT_EQ(words(slot_policy(stops.state, RoundBegan{2, false})), "stop 0");
  EXPECT_EQ(words(slot_policy(stops.state, JobDone())), "stop 0") << "asked again, to no harm";
  EXPECT_EQ(stops.ends(0, killed(SIGTERM)), "finish 0");

  Rounds has_not_heard(1, 0);
  EXPECT_EQ(words(slot_policy(has_not_heard.state, JobDone())), "stop 0");
  EXPECT_EQ(has_not_heard.ends(0, killed(SIGTERM)), "finish 0");
}

TEST(RoundPolicy, ElasticProgramsDoNotRestartForARound)
{
  Rounds job(1, 0);
  job.state.anybody_registered = true;
  EXPECT_EQ(job.begins(2), "");
}

TEST(Policy, AllFirstWorkersAreStartedByOneDecision)
{
  Plain job(2);  // so that what fails is decided on when all have been tried
  EXPECT_EQ(words(slot_policy(job.state, WorkersWanted())), "start 0#0, start 1#0");
}

TEST(Policy, TheKindIsSettledAtTheFirstRestartDecision)
{
  Plain job(2, 1);
  EXPECT_EQ(job.ends(0, exited(1)), "stop 1");
  EXPECT_EQ(job.state.kind, JobKind::kPlain);
  job.state.anybody_registered = true;
  EXPECT_EQ(job.ends(1, killed(SIGTERM)), "start 0#1, start 1#1")
      << "registering later changes nothing";

  SlotPolicyState early(2);
  early.anybody_registered = true;  // the other worker had registered, this one died before
  EXPECT_EQ(words(slot_policy(early, WorkerExit{0, exited(1)})), "start 0#1");
  EXPECT_EQ(early.kind, JobKind::kElastic);
}

TEST(Policy, DefaultsOfMaxRestarts)
{
  SlotPolicyState state(1);
  EXPECT_EQ(restart_limit(state), 0);
  state.kind = JobKind::kElastic;
  EXPECT_EQ(restart_limit(state), 3);
  state.max_restarts = 0;
  EXPECT_EQ(restart_limit(state), 0);
}

TEST(ExitCode, OfAStatus)
{
  EXPECT_EQ(to_int(exit_code_for(absl::InvalidArgumentError("x"))), 2);
  EXPECT_EQ(to_int(exit_code_for(absl::UnavailableError("x"))), 69);
  EXPECT_EQ(to_int(exit_code_for(absl::NotFoundError("x"))), 127);
  EXPECT_EQ(to_int(exit_code_for(absl::PermissionDeniedError("x"))), 126);
  EXPECT_EQ(to_int(exit_code_for(absl::FailedPreconditionError("x"))), 76);
  EXPECT_EQ(to_int(exit_code_for(absl::ResourceExhaustedError("x"))), 71);
  EXPECT_EQ(to_int(exit_code_for(absl::InternalError("x"))), 70);
}

TEST(ExitReason, Words)
{
  EXPECT_EQ(exited(3).describe(), "exited with code 3");
  EXPECT_EQ(killed(SIGKILL).describe(), "was killed by SIGKILL");
  EXPECT_EQ((ExitReason{ExitReason::How::kSignaled, SIGSEGV, true}).describe(),
            "was killed by SIGSEGV (core dumped)");
}

}  // namespace
}  // namespace spillway
