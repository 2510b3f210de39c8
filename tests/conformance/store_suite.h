// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "spillway/coordinator/store.h"

namespace spillway::coordinator {

// What every store promises (store.h), told once. A backend instantiates it with the ways to
// make, break and reopen its storage:
//   INSTANTIATE_TEST_SUITE_P(Memory, StoreSuite, ::testing::Values(memory_backend()));
struct StoreBackend
{
  std::string name;
  // New, empty storage; the object may clean up when destroyed.
  struct Storage
  {
    virtual ~Storage() = default;
    virtual absl::StatusOr<std::unique_ptr<Store>> open() = 0;
    // Damages what is stored for `job`, whose record contains `needle`.
    virtual void corrupt(const std::string& job, const std::string& needle) = 0;
    // Until `full(false)`, no write finds room.
    virtual void full(bool is_full) = 0;
  };
  std::function<std::unique_ptr<Storage>()> make;
};

inline void PrintTo(const StoreBackend& backend, std::ostream* out)
{
  *out << backend.name;
}

class StoreSuite : public ::testing::TestWithParam<StoreBackend>
{
 protected:
  void SetUp() override { storage_ = GetParam().make(); }
  std::unique_ptr<Store> open()
  {
    auto store = storage_->open();
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? std::move(*store) : nullptr;
  }
  static Term lead(Store& store)
  {
    auto term = store.begin_term();
    EXPECT_TRUE(term.ok()) << term.status();
    return term.value_or(Term());
  }
  static std::string record_of(Store& store, const std::string& job)
  {
    auto record = store.load(job);
    if (!record.ok()) return record.status().ToString();
    return record->value_or("(none)");
  }
  std::unique_ptr<StoreBackend::Storage> storage_;
};

TEST_P(StoreSuite, StartsEmpty)
{
  auto store = open();
  EXPECT_EQ(record_of(*store, "a"), "(none)");
  auto jobs = store->list_jobs();
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  EXPECT_TRUE(jobs->empty());
  EXPECT_FALSE(store->description().empty());
}

TEST_P(StoreSuite, KeepsOneRecordPerJobOverReopening)
{
  {
    auto store = open();
    const Term term = lead(*store);
    EXPECT_TRUE(store->write(term, "b", "first").ok());
    EXPECT_TRUE(store->write(term, "b", "second").ok());
    EXPECT_TRUE(store->write(term, "a", "").ok());
    EXPECT_TRUE(store->write(term, "c", "third").ok());
    EXPECT_TRUE(store->erase(term, "c").ok());
    EXPECT_TRUE(store->erase(term, "never there").ok());
  }
  auto store = open();
  EXPECT_EQ(record_of(*store, "b"), "second");
  EXPECT_EQ(record_of(*store, "a"), "");
  EXPECT_EQ(record_of(*store, "c"), "(none)");
  auto jobs = store->list_jobs();
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  EXPECT_THAT(*jobs, ::testing::ElementsAre("a", "b"));
}

TEST_P(StoreSuite, KeepsEveryByteValueAndLargeRecords)
{
  std::string bytes;
  for (int i = 0; i < 300000; ++i) bytes.push_back(static_cast<char>(i * 7));
  auto store = open();
  const std::string odd_name("name with \0 and 'quotes'", 24);
  EXPECT_TRUE(store->write(lead(*store), odd_name, bytes).ok());
  EXPECT_EQ(record_of(*store, odd_name), bytes);
  EXPECT_EQ(record_of(*open(), odd_name), bytes);
}

TEST_P(StoreSuite, TermsGrowAndAHigherOneDeposes)
{
  auto old_leader = open();
  const Term old_term = lead(*old_leader);
  EXPECT_TRUE(old_leader->write(old_term, "job", "old").ok());

  auto new_leader = open();
  const Term new_term = lead(*new_leader);
  EXPECT_GT(new_term, old_term);

  const absl::Status refused = old_leader->write(old_term, "job", "late");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_EQ(old_leader->erase(old_term, "job").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(record_of(*new_leader, "job"), "old");
  EXPECT_TRUE(new_leader->write(new_term, "job", "new").ok());
  EXPECT_EQ(record_of(*old_leader, "job"), "new");
}

TEST_P(StoreSuite, TermsGrowOverReopening)
{
  Term last;
  for (int i = 0; i < 5; ++i)
  {
    const Term term = lead(*open());
    EXPECT_GT(term, last);
    last = term;
  }
}

TEST_P(StoreSuite, RefusesADamagedRecordAndNamesIt)
{
  {
    auto store = open();
    const Term term = lead(*store);
    EXPECT_TRUE(store->write(term, "good", "unharmed").ok());
    EXPECT_TRUE(store->write(term, "bad", "the needle in the record").ok());
  }
  storage_->corrupt("bad", "needle");
  auto store = storage_->open();
  if (!store.ok())
  {
    EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
    return;
  }
  const auto record = (*store)->load("bad");
  EXPECT_EQ(record.status().code(), absl::StatusCode::kDataLoss) << record.status();
  EXPECT_THAT(std::string(record.status().message()), ::testing::HasSubstr("bad"));
  EXPECT_EQ(record_of(**store, "good"), "unharmed");
}

TEST_P(StoreSuite, AFullDiskKeepsTheOldRecordAndRecovers)
{
  auto store = open();
  const Term term = lead(*store);
  EXPECT_TRUE(store->write(term, "job", "kept").ok());
  storage_->full(true);
  const absl::Status refused = store->write(term, "job", std::string(4 << 20, 'x'));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(record_of(*store, "job"), "kept");
  storage_->full(false);
  EXPECT_TRUE(store->write(term, "job", "later").ok());
  EXPECT_EQ(record_of(*store, "job"), "later");
}

}  // namespace spillway::coordinator
