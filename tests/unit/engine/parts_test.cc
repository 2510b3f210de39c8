// SPDX-License-Identifier: Apache-2.0
// The engine's parts by themselves: control word, replica verdict, served state, slices, durations.
#include "control_word.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "served_state.h"
#include "step_slice.h"
#include "step_times.h"

namespace spillway::engine {
namespace {

using ::testing::ElementsAre;

template <typename T>
MutableByteSpan bytes_of(std::vector<T>& values)
{
  return {reinterpret_cast<std::byte*>(values.data()), values.size() * sizeof(T)};
}

TEST(Totals, AreFoldedInRankOrder)
{
  const TotalsCodec codec(70);
  const std::uint64_t used[] = {5, 2};
  StepContribution first;
  first.weight = 3;
  first.loss_sum = 1.5;
  first.samples = 3;
  first.used_parameters = used;
  StepContribution second;
  second.weight = 1;
  second.loss_sum = 4;
  second.samples = 1;
  second.overflow = true;
  const std::size_t bytes = codec.record_bytes();
  std::vector<std::byte> records(3 * bytes);
  const MutableByteSpan all(records.data(), records.size());
  codec.encode(&first, all.subspan(0, bytes));
  codec.encode(nullptr, all.subspan(bytes, bytes));  // a joiner
  StepTotals totals = codec.fold({}, 2, all.subspan(0, 2 * bytes));
  EXPECT_EQ(totals.samples, 3u);
  EXPECT_FALSE(totals.overflow);
  EXPECT_THAT(totals.used_parameters, ElementsAre(5, 2));
  codec.encode(&second, all.subspan(2 * bytes, bytes));
  totals = codec.fold({}, 3, all);
  EXPECT_EQ(totals.weight, 4);
  EXPECT_EQ(totals.loss_sum, 5.5);
  EXPECT_TRUE(totals.overflow);
  EXPECT_FALSE(totals.veto);
  EXPECT_THAT(totals.used_parameters, ElementsAre(~std::uint64_t{0}, ~std::uint64_t{0}));
}

TEST(Votes, NameTheNumbersThatAreReadyEverywhere)
{
  const Word word = fold_votes({Vote{.prepared = 7}, Vote{.prepared = 0}, Vote{.wants_stop = 1}});
  EXPECT_EQ(word.min_prepared, Number());
  EXPECT_EQ(word.max_prepared, Number(7));
  EXPECT_TRUE(word.stop);
}

TEST(Replicas, AMajorityNamesTheCulprit)
{
  const auto vote = [](std::uint64_t hash) { return Vote{.state_hash = hash, .hash_valid = 1}; };
  EXPECT_TRUE(compare_replicas({vote(4), vote(4), vote(4)}).agree);
  EXPECT_TRUE(compare_replicas({vote(4), Vote{}}).agree);  // nothing to compare with
  ReplicaVerdict verdict = compare_replicas({vote(4), vote(5), vote(4)});
  EXPECT_FALSE(verdict.agree);
  EXPECT_TRUE(verdict.majority);
  EXPECT_THAT(verdict.culprits, ElementsAre(1));
  verdict = compare_replicas({vote(4), vote(5)});
  EXPECT_FALSE(verdict.majority);
  EXPECT_THAT(verdict.culprits, ElementsAre(0, 1));
  verdict = compare_replicas({vote(4), vote(5), vote(4), vote(5)});
  EXPECT_FALSE(verdict.majority);
}

class Served : public ::testing::Test
{
 protected:
  Served() : state_((add(), table_)) { state_.take_shadow(); }
  void add()
  {
    const auto entry = [&](const char* name, StateKind kind, std::vector<std::uint8_t>& bytes) {
      ASSERT_TRUE(table_
                      .add({.name = name,
                            .dtype = "uint8",
                            .shape = {static_cast<std::int64_t>(bytes.size())},
                            .kind = kind,
                            .bytes = bytes_of(bytes)})
                      .ok());
    };
    entry("weight", StateKind::kParameter, weight_);
    entry("mean", StateKind::kBuffer, mean_);
    entry("momentum", StateKind::kOptimizer, momentum_);
  }
  std::vector<std::uint8_t> read(std::uint64_t offset, std::size_t bytes)
  {
    std::vector<std::uint8_t> into(bytes);
    EXPECT_TRUE(state_.read(kName, offset, bytes_of(into)).ok());
    return into;
  }
  static constexpr StateName kName{Number(2), StepId(9)};
  std::vector<std::uint8_t> weight_ = {1, 2, 3};
  std::vector<std::uint8_t> mean_ = {4, 5};
  std::vector<std::uint8_t> momentum_ = {6};
  StateTable table_;
  ServedState state_;
};

TEST_F(Served, IsOnlyWhatItsNameSays)
{
  std::vector<std::uint8_t> into(2);
  EXPECT_EQ(state_.read(kName, 0, bytes_of(into)).code(), absl::StatusCode::kNotFound);
  state_.open(kName);
  EXPECT_EQ(state_.read({Number(2), StepId(8)}, 0, bytes_of(into)).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(state_.read(kName, 5, bytes_of(into)).code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(read(2, 4), ElementsAre(3, 4, 5, 6));
  state_.close();
  EXPECT_EQ(state_.read(kName, 0, bytes_of(into)).code(), absl::StatusCode::kNotFound);
}

TEST_F(Served, IsTheStateThatTheLoopBeganWith)
{
  state_.open(kName);
  const std::uint64_t before = state_.hash(0, 6);
  mean_ = {40, 50};  // the loop computes
  EXPECT_THAT(read(3, 2), ElementsAre(4, 5));
  EXPECT_EQ(state_.hash(0, 6), before);
  state_.restore_shadow();
  EXPECT_THAT(mean_, ElementsAre(4, 5));
}

TEST_F(Served, HashesEveryByteAndWrapsAround)
{
  const std::uint64_t part = state_.hash(4, 4);  // the last two and the first two
  weight_[2] = 9;
  EXPECT_EQ(state_.hash(4, 4), part);
  weight_[1] = 9;
  EXPECT_NE(state_.hash(4, 4), part);
  const std::uint64_t live = state_.live_hash();
  mean_[0] = 9;
  EXPECT_NE(state_.live_hash(), live);
  EXPECT_EQ(state_.entry_at(2).name, "weight");
  EXPECT_EQ(state_.entry_at(5).name, "momentum");
}

TEST_F(Served, TakesRangesThatCrossEntries)
{
  std::vector<std::uint8_t> range = {10, 11, 12, 13};
  state_.write(1, bytes_of(range));
  EXPECT_THAT(weight_, ElementsAre(1, 10, 11));
  EXPECT_THAT(mean_, ElementsAre(12, 13));
  EXPECT_THAT(momentum_, ElementsAre(6));
}

TEST(Slices, CopiersGetNothingAndOneMemberLeads)
{
  const auto data = DataPlan::create({.parts = {{.name = "all", .size = 100}},
                                      .global_batch = 9,
                                      .max_micro_batch = 2,
                                      .seed = 1});
  ASSERT_TRUE(data.ok());
  std::vector<MemberInfo> infos;
  for (std::uint64_t id : {3, 5, 8})
    infos.push_back({.worker = WorkerId(id), .node = NodeId(1), .address = "a"});
  const MemberListPtr members = MemberList::make(infos);
  const std::vector<WorkerId> copiers = {WorkerId(3)};
  std::uint64_t covered = 0;
  for (std::uint64_t id : {3, 5, 8})
  {
    const StepPlan plan = plan_step(*data, StepId(1), *members, copiers, WorkerId(id));
    EXPECT_EQ(plan.lead, id == 5);
    std::uint64_t samples = 0;
    for (const PositionRange& range : plan.slice) samples += range.size();
    EXPECT_EQ(plan.slice.empty(), id == 3);
    EXPECT_EQ(plan.micro_batches.size(), (samples + 1) / 2);
    covered += samples;
  }
  EXPECT_EQ(covered, 9u);
}

TEST(Durations, QuantilesAreOfTheLastSteps)
{
  StepTimes times;
  EXPECT_EQ(times.p99(), Duration::zero());
  for (int i = 0; i < 1000; ++i) times.add(std::chrono::seconds(60));
  for (int i = 1; i <= 128; ++i) times.add(std::chrono::milliseconds(i));
  EXPECT_NEAR(static_cast<double>(times.median().count()), 64.5e6, 1e6);
  EXPECT_GE(times.p99(), std::chrono::milliseconds(126));
  EXPECT_LE(times.p99(), std::chrono::milliseconds(128));
}

}  // namespace
}  // namespace spillway::engine
