// SPDX-License-Identifier: Apache-2.0
// What collectives do when something goes wrong: they end, in time, and say why.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "group_suite.h"

namespace spillway::comm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;

absl::Status reduce_some(Group& group, std::uint64_t step, std::uint64_t count,
                         MonotonicTime deadline, DType dtype = DType::kFp32)
{
  const auto own = group.allocate(count * size_bytes(dtype));
  EXPECT_TRUE(own.ok()) << own.status();
  std::vector<std::byte> result(own->size());
  return group.all_reduce(name(step), dtype, ReduceOp::kSum, *own, absl::MakeSpan(result),
                          {deadline});
}

struct Call
{
  Collective collective = Collective::kAllReduce;
  std::uint64_t count = 0;  // floats
};
// Each collective, and the one that carries the gradients in one piece and in many. Enough for each
// member to wait for each other.
constexpr Call kCalls[] = {
    {Collective::kAllReduce, 1},         {Collective::kAllReduce, 500'000},
    {Collective::kReduceScatter, 1'000}, {Collective::kReduceScatter, 500'000},
    {Collective::kAllGather, 1'000},     {Collective::kAllGather, 500'000},
    {Collective::kBroadcast, 1'000},     {Collective::kBroadcast, 500'000}};

// `absent` never makes the call; it is the root of a broadcast.
absl::Status call_without(Rank absent, Group& group, const Call& call, MonotonicTime deadline)
{
  if (call.collective == Collective::kAllReduce) return reduce_some(group, 1, call.count, deadline);
  const std::size_t bytes = call.count * size_bytes(DType::kFp32);
  const auto own = group.allocate(bytes);
  EXPECT_TRUE(own.ok()) << own.status();
  std::vector<std::byte> result(bytes * group.size());
  const auto all = absl::MakeSpan(result);
  if (call.collective == Collective::kAllGather)
    return group.all_gather(name(1), *own, all, {deadline});
  if (call.collective == Collective::kBroadcast)
    return group.broadcast(name(1), absent, {}, all.first(bytes), {deadline});
  const ShardRange range = shard_range(call.count, group.size(), group.rank());
  return group.reduce_scatter(name(1), DType::kFp32, ReduceOp::kSum, *own,
                              all.first(range.count() * size_bytes(DType::kFp32)), {deadline});
}

// Runs `cut` once everybody but rank 0 waits in a call that rank 0 never makes.
void leave_waiting(Team& team, const Call& call, const std::function<void()>& cut,
                   const std::function<void(std::uint32_t, const absl::Status&)>& check)
{
  team.everybody([&](std::uint32_t rank) {
    if (rank == 0)
    {
      // The others' records say that they have begun.
      const MonotonicTime deadline = soon();
      for (std::uint32_t peer = 1; peer < team.size(); ++peer)
        while (team.seat(peer).transport->recorder().records().empty() &&
               system_clock().now() < deadline)
          std::this_thread::yield();
      cut();
      return;
    }
    check(rank, call_without(Rank(0), team.group(rank), call, soon()));
  });
}

TEST_P(GroupSuite, AbortEndsEveryWait)
{
  for (const Call& call : kCalls)
  {
    SCOPED_TRACE(testing::Message() << name_of(call.collective) << " of " << call.count);
    Team team(GetParam(), 3);
    team.connect(Number(5));
    leave_waiting(
        team, call,
        [&] {
          for (std::uint32_t rank = 0; rank < 3; ++rank) team.seat(rank).abort->raise(Number(5));
        },
        [&](std::uint32_t rank, const absl::Status& status) {
          EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
          EXPECT_THAT(status.message(), AllOf(HasSubstr("number 5"), HasSubstr("step 1")));
          // Once failed, always failed.
          EXPECT_EQ(reduce_some(team.group(rank), 2, 1, soon()).code(), absl::StatusCode::kAborted);
          const FlightRecord record = team.seat(rank).transport->recorder().records()[0];
          EXPECT_EQ(record.collective, call.collective);
          EXPECT_EQ(record.state, FlightState::kAborted);
        });
    // A call that begins after the abort ends at once, and the next number works.
    EXPECT_EQ(reduce_some(team.group(0), 1, 1, soon()).code(), absl::StatusCode::kAborted);
    team.connect(Number(6));
    team.everybody([&](std::uint32_t rank) {
      EXPECT_TRUE(reduce_some(team.group(rank), 3, call.count, soon()).ok());
    });
  }
}

TEST_P(GroupSuite, AbortOfLowerNumbersLeavesAGroupAlone)
{
  Team team(GetParam(), 2);
  team.connect(Number(5));
  team.everybody([&](std::uint32_t rank) {
    team.seat(rank).abort->raise(Number(4));
    EXPECT_EQ(reduce_some(team.group(rank), 1, 10, soon()), absl::OkStatus());
  });
}

// The abort comes at some instant of a stream of calls, different in each round.
TEST_P(GroupSuite, AbortAtAnyPoint)
{
  Team team(GetParam(), 3);
  for (std::uint64_t round = 1; round <= 25; ++round)
  {
    const Number number(round);
    team.connect(number);
    std::atomic<std::uint64_t> calls{0};
    team.everybody([&](std::uint32_t rank) {
      for (std::uint64_t step = 1;; ++step)
      {
        const absl::Status status = reduce_some(team.group(rank), step, step * 997, soon());
        if (!status.ok())
        {
          EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
          return;
        }
        if (calls.fetch_add(1) == round)
          for (std::uint32_t peer = 0; peer < 3; ++peer) team.seat(peer).abort->raise(number);
      }
    });
  }
}

TEST_P(GroupSuite, DeadlineNamesWhoIsMissing)
{
  // Zero: a call whose deadline went by before it began names who is missing all the same.
  for (const milliseconds patience : {milliseconds(50), milliseconds(0)})
    for (const Call& call : kCalls)
    {
      SCOPED_TRACE(testing::Message() << name_of(call.collective) << " of " << call.count);
      Team team(GetParam(), 3);
      team.connect(Number(1));
      team.everybody([&](std::uint32_t rank) {
        if (rank == 1) return;
        const MonotonicTime begun = system_clock().now();
        const absl::Status status =
            call_without(Rank(1), team.group(rank), call, deadline_after(begun, patience));
        EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
        EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 (worker 101 at 127.0.0.1:"));
        EXPECT_LT(system_clock().now() - begun, seconds(5));
      });
    }
}

TEST_P(GroupSuite, ADeadlineMayBePutOffWhileOthersAreMissing)
{
  Team team(GetParam(), 2);
  team.connect(Number(1));
  std::atomic<bool> asked{false};
  team.everybody([&](std::uint32_t rank) {
    Group& group = team.group(rank);
    const std::string record(1, static_cast<char>('a' + rank));
    std::string records(2, ' ');
    const MutableByteSpan into(reinterpret_cast<std::byte*>(records.data()), records.size());
    CallOptions options{.deadline = soon()};
    if (rank == 0)
    {
      options.deadline = soon(milliseconds(20));
      options.on_deadline = [&](const std::vector<WorkerId>& missing) {
        EXPECT_THAT(missing, testing::ElementsAre(group.worker(Rank(1))));
        asked = true;
        asked.notify_all();
        return soon();
      };
    }
    else
      asked.wait(false);  // the other member is asked in 20 ms, or the test's timeout ends this
    EXPECT_EQ(group.all_gather(name(1), as_bytes(record), into, options), absl::OkStatus());
    EXPECT_EQ(records, "ab");
  });
}

TEST_P(GroupSuite, ALostPeerEndsTheCallAndIsReported)
{
  std::mutex mutex;
  std::vector<WorkerId> lost;
  PeerEvents events;
  events.on_peer_lost = [&](Number number, WorkerId worker) {
    EXPECT_EQ(number, Number(1));
    const std::lock_guard lock(mutex);
    lost.push_back(worker);
  };
  Team team(GetParam(), 3, events);
  team.connect(Number(1));
  leave_waiting(
      team, {Collective::kAllReduce, 1000}, [&] { team.seat(0).transport->break_links_for_test(); },
      [&](std::uint32_t, const absl::Status& status) {
        EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
        EXPECT_THAT(status.message(), HasSubstr("worker 100 died"));
      });
  const MonotonicTime deadline = soon();
  const auto reported = [&] {
    const std::lock_guard lock(mutex);
    return std::count(lost.begin(), lost.end(), WorkerId(100));
  };
  while (reported() < 2 && system_clock().now() < deadline) std::this_thread::yield();
  EXPECT_EQ(reported(), 2);
}

TEST_P(GroupSuite, ALeaverIsNoFault)
{
  std::atomic<int> lost{0}, closed{0};
  PeerEvents events;
  events.on_peer_lost = [&](Number, WorkerId) { ++lost; };
  events.on_peer_closed = [&](Number, WorkerId worker) {
    if (worker == WorkerId(102)) ++closed;
  };
  Team team(GetParam(), 3, events);
  team.connect(Number(1));
  team.everybody(
      [&](std::uint32_t rank) { EXPECT_TRUE(reduce_some(team.group(rank), 1, 9, soon()).ok()); });
  team.seat(2).group.reset();
  const MonotonicTime deadline = soon();
  while (closed < 2 && system_clock().now() < deadline) std::this_thread::yield();
  EXPECT_EQ(closed, 2);
  EXPECT_EQ(lost, 0);
  team.group(0).progress();
}

TEST_P(GroupSuite, NamesWhoseCallDiffers)
{
  const auto differ = [&](auto call, absl::string_view theirs) {
    Team team(GetParam(), 3);
    team.connect(Number(1));
    team.everybody([&](std::uint32_t rank) {
      const absl::Status status = call(team.group(rank), rank);
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
      if (rank == 1) return;
      EXPECT_THAT(status.message(), AllOf(HasSubstr("rank 1 (worker 101"), HasSubstr(theirs)));
    });
  };
  differ([](Group& group,
            std::uint32_t rank) { return reduce_some(group, 1, rank == 1 ? 10 : 20, soon()); },
         "all_reduce fp32 sum of 40 bytes");
  differ(
      [](Group& group, std::uint32_t rank) {
        return reduce_some(group, 1, rank == 1 ? 90'000 : 500'000, soon());
      },
      "all_reduce fp32 sum of 360000 bytes");
  differ([](Group& group,
            std::uint32_t rank) { return reduce_some(group, 1, rank == 1 ? 1 : 500'000, soon()); },
         "all_reduce fp32 sum of 4 bytes");
  differ(
      [](Group& group, std::uint32_t rank) {
        return reduce_some(group, 1, 10, soon(), rank == 1 ? DType::kInt32 : DType::kFp32);
      },
      "all_reduce int32 sum");
  differ([](Group& group,
            std::uint32_t rank) { return reduce_some(group, rank == 1 ? 8 : 9, 10, soon()); },
         "step 8");
}

TEST_P(GroupSuite, RefusesWrongArgumentsAndStaysUsable)
{
  Team team(GetParam(), 2);
  team.connect(Number(1));
  team.everybody([&](std::uint32_t rank) {
    Group& group = team.group(rank);
    const MutableByteSpan own = *group.allocate(64);
    std::vector<std::byte> outside(64), small(60);
    const auto reduce = [&](ByteSpan contribution, MutableByteSpan result) {
      return group.all_reduce(name(1), DType::kFp32, ReduceOp::kSum, contribution, result,
                              {soon()});
    };
    const absl::Status foreign = reduce(outside, absl::MakeSpan(outside));
    EXPECT_EQ(foreign.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(foreign.message(), HasSubstr("Group::allocate"));
    EXPECT_THAT(reduce(own, own).message(), HasSubstr("in-place"));
    EXPECT_THAT(reduce(own, absl::MakeSpan(small)).message(), HasSubstr("must have 64"));
    EXPECT_THAT(reduce(own.subspan(0, 63), absl::MakeSpan(small)).message(),
                HasSubstr("no whole number of fp32"));
    EXPECT_EQ(group.broadcast(name(1), Rank(2), own, absl::MakeSpan(outside), {soon()}).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(group.all_gather(name(1), own, absl::MakeSpan(outside), {soon()}).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(reduce(own, absl::MakeSpan(outside)), absl::OkStatus());
  });
}

TEST_P(GroupSuite, ConnectNamesWhoCannotBeReached)
{
  Team team(GetParam(), 3);
  // Worker 100 is dead: nothing listens at its address any more.
  team.seat(0).transport->break_links_for_test();
  team.everybody([&](std::uint32_t rank) {
    if (rank == 0) return;
    const MonotonicTime begun = system_clock().now();
    const ConnectOutcome outcome = team.seat(rank).transport->connect(
        team.spec(Number(1), rank), *team.seat(rank).abort, soon(seconds(10)));
    EXPECT_EQ(outcome.group, nullptr);
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable) << outcome.status;
    EXPECT_THAT(outcome.status.message(),
                HasSubstr("worker 100 at " + team.seat(0).transport->address()));
    EXPECT_THAT(outcome.unreachable, testing::ElementsAre(WorkerId(100)));
    EXPECT_LT(system_clock().now() - begun, seconds(5));
  });
}

TEST_P(GroupSuite, ConnectEndsAtItsDeadlineAndByAbort)
{
  Team team(GetParam(), 2);
  const ConnectOutcome late = team.seat(1).transport->connect(
      team.spec(Number(1), 1), *team.seat(1).abort, soon(milliseconds(50)));
  EXPECT_EQ(late.status.code(), absl::StatusCode::kDeadlineExceeded) << late.status;
  EXPECT_THAT(late.unreachable, testing::ElementsAre(WorkerId(100)));

  std::thread control([&] { team.seat(0).abort->raise(Number(2)); });
  const ConnectOutcome aborted =
      team.seat(0).transport->connect(team.spec(Number(2), 0), *team.seat(0).abort, soon());
  control.join();
  EXPECT_EQ(aborted.status.code(), absl::StatusCode::kAborted) << aborted.status;
  EXPECT_TRUE(aborted.unreachable.empty());
}

TEST_P(GroupSuite, AnotherLineageIsRefused)
{
  Team team(GetParam(), 2);
  team.everybody([&](std::uint32_t rank) {
    GroupSpec spec = team.spec(Number(1), rank);
    if (rank == 1) spec.lineage = Lineage(8);
    const ConnectOutcome outcome =
        team.seat(rank).transport->connect(spec, *team.seat(rank).abort, soon(seconds(1)));
    EXPECT_EQ(outcome.group, nullptr);
    EXPECT_FALSE(outcome.status.ok());
    if (rank == 0) return;
    EXPECT_THAT(outcome.status.message(), HasSubstr("of lineage 8"));
  });
}

TEST_P(GroupSuite, AProbeGoesBothWaysAndNeedsNoGroup)
{
  Team team(GetParam(), 3);
  const GroupSpec spec = team.spec(Number(1), 0);
  const auto probe = [&](Transport& from, std::uint32_t to, Lineage lineage) {
    return from.probe(lineage, spec.members[to], {.deadline = soon(seconds(5))});
  };
  EXPECT_EQ(probe(*team.seat(0).transport, 1, spec.lineage), absl::OkStatus());
  team.connect(Number(1));
  EXPECT_EQ(probe(*team.seat(0).transport, 1, spec.lineage), absl::OkStatus());
  auto without_group = GetParam().make({});
  ASSERT_TRUE(without_group.ok()) << without_group.status();
  EXPECT_EQ(probe(**without_group, 1, spec.lineage), absl::OkStatus());
  EXPECT_THAT(probe(**without_group, 1, Lineage(8)).message(), HasSubstr("of lineage 8"));

  // Worker 102 still reaches the others, but nobody reaches it.
  team.seat(2).transport->break_links_for_test();
  const absl::Status back = probe(*team.seat(2).transport, 0, spec.lineage);
  EXPECT_EQ(back.code(), absl::StatusCode::kUnavailable) << back;
  EXPECT_THAT(back.message(), HasSubstr("on the way back"));
  const absl::Status there = probe(*team.seat(0).transport, 2, spec.lineage);
  EXPECT_EQ(there.code(), absl::StatusCode::kUnavailable) << there;
  EXPECT_THAT(there.message(), HasSubstr("probe of worker 102"));
}

TEST_P(GroupSuite, TwoNumbersLiveSideBySide)
{
  Team team(GetParam(), 3);
  team.connect(Number(1));
  team.everybody([&](std::uint32_t rank) {
    Team::Seat& seat = team.seat(rank);
    EXPECT_TRUE(reduce_some(*seat.group, 1, 70'000, soon()).ok());
    ConnectOutcome next = seat.transport->connect(team.spec(Number(2), rank), *seat.abort, soon());
    ASSERT_TRUE(next.status.ok()) << next.status;
    EXPECT_TRUE(reduce_some(*seat.group, 2, 70'000, soon()).ok());
    // After the switch the old number is kept moving until the new one's first word.
    std::byte record{}, records[3];
    EXPECT_TRUE(next.group->all_gather(name(3), {&record, 1}, records, {soon()}).ok());
    seat.group->progress();
    seat.group = std::move(next.group);
    EXPECT_TRUE(reduce_some(*seat.group, 4, 70'000, soon()).ok());
  });
}

std::size_t open_descriptors()
{
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

std::size_t mappings()
{
  FILE* maps = std::fopen("/proc/self/maps", "r");
  std::size_t lines = 0;
  for (int c = 0; (c = std::fgetc(maps)) != EOF;) lines += c == '\n';
  std::fclose(maps);
  return lines;
}

// A spare for the next number is made in the background, so what is open between two numbers comes
// and goes: the most over many numbers is compared, where a leak of one in five of them would show.
TEST_P(GroupSuite, ManyEpochsLeaveNothingBehind)
{
  Team team(GetParam(), 2);
  constexpr std::uint64_t kNumbers = 220, kWindow = 40;
  std::size_t descriptors_early = 0, descriptors_late = 0, maps_early = 0, maps_late = 0;
  for (std::uint64_t number = 1; number <= kNumbers; ++number)
  {
    team.connect(Number(number));
    team.everybody([&](std::uint32_t rank) {
      EXPECT_TRUE(
          reduce_some(team.group(rank), number, number % 3 == 0 ? 100'000 : 10, soon()).ok());
      // Every fifth number ends in the middle of a call.
      if (number % 5 != 0) return;
      if (rank == 0) team.seat(1).abort->raise(Number(number));
      if (rank == 1) reduce_some(team.group(1), number + 1, 100'000, soon()).IgnoreError();
    });
    const bool early = number <= kWindow;
    if (!early && number <= kNumbers - kWindow) continue;
    std::size_t& descriptors = early ? descriptors_early : descriptors_late;
    std::size_t& maps = early ? maps_early : maps_late;
    descriptors = std::max(descriptors, open_descriptors());
    maps = std::max(maps, mappings());
  }
  EXPECT_LE(descriptors_late, descriptors_early + 4);
  EXPECT_LE(maps_late, maps_early + 60);
}

}  // namespace
}  // namespace spillway::comm
