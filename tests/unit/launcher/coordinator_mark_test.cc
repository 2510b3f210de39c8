// SPDX-License-Identifier: Apache-2.0
#include "coordinator_mark.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace spillway {
namespace {

namespace fs = std::filesystem;

class CoordinatorMarkTest : public ::testing::Test
{
 protected:
  void SetUp() override
  {
    std::string name = ::testing::TempDir() + "/mark-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string folder_;
};

TEST_F(CoordinatorMarkTest, IsFoundByItsPortAndReplaced)
{
  EXPECT_FALSE(find_mark(folder_, 29400));
  ASSERT_TRUE(leave_mark(folder_, {29400, 12, "/data/jobs.db"}).ok());
  ASSERT_TRUE(leave_mark(folder_, {29400, getpid(), "/data/with space.db"}).ok());
  const auto mark = find_mark(folder_, 29400);
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->pid, getpid());
  EXPECT_EQ(mark->store, "/data/with space.db");
  EXPECT_FALSE(find_mark(folder_, 29401));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(CoordinatorMarkTest, OnlyOnesOwnIsRemoved)
{
  ASSERT_TRUE(leave_mark(folder_, {1, getpid(), "memory"}).ok());
  ASSERT_TRUE(leave_mark(folder_, {2, getpid() + 1, "memory"}).ok());
  remove_own_mark(folder_, 1);
  remove_own_mark(folder_, 2);
  EXPECT_FALSE(find_mark(folder_, 1));
  EXPECT_TRUE(find_mark(folder_, 2));
}

TEST_F(CoordinatorMarkTest, WhatIsNoMarkIsNotBelieved)
{
  std::ofstream(mark_path(folder_, 1)) << "something else";
  std::ofstream(mark_path(folder_, 2)) << "pid x\nstore memory\n";
  std::ofstream(folder_ + "/elsewhere") << "pid 1\nstore memory\n";
  fs::create_symlink(folder_ + "/elsewhere", mark_path(folder_, 3));
  for (const int port : {1, 2, 3}) EXPECT_FALSE(find_mark(folder_, port)) << port;
}

TEST_F(CoordinatorMarkTest, SaysWhyThereIsNone)
{
  const absl::Status status = leave_mark(folder_ + "/missing", {1, 2, "memory"});
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

}  // namespace
}  // namespace spillway
