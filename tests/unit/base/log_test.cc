// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace spillway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Standard error goes into `end` for as long as this lives.
class Redirected
{
 public:
  explicit Redirected(int end) : before_(dup(STDERR_FILENO)) { dup2(end, STDERR_FILENO); }
  ~Redirected()
  {
    dup2(before_, STDERR_FILENO);
    close(before_);
  }

 private:
  int before_;
};

std::string read_all(int end)
{
  fcntl(end, F_SETFL, O_NONBLOCK);
  std::string text(1 << 20, '\0');
  std::size_t bytes = 0;
  for (ssize_t got = 0; (got = read(end, text.data() + bytes, text.size() - bytes)) > 0;)
    bytes += static_cast<std::size_t>(got);
  text.resize(bytes);
  return text;
}

// As a held terminal, or a pager that nobody scrolls: before, the first full pipe was the end.
void speaks_without_a_reader(int reader, int writer)
{
  std::string text;
  {
    const Redirected redirected(writer);
    for (int i = 0; i < 20000; ++i) log_info("line ", i, " of many");
    text = read_all(reader);
    log_info("the reader is back");
    for (int i = 0; i < 100; ++i)
    {
      text += read_all(reader);
      log_info("and goes on");
    }
  }
  EXPECT_THAT(text, HasSubstr("line 0 of many\n"));
  EXPECT_THAT(text, HasSubstr("line 1000 of many\n"));
  EXPECT_THAT(text, Not(HasSubstr("line 19999 of many\n")));
  EXPECT_THAT(text, HasSubstr("lines are lost here"));
  EXPECT_THAT(text, HasSubstr("and goes on\n"));
  // Nobody else's writes became non-blocking.
  EXPECT_EQ(fcntl(writer, F_GETFL) & O_NONBLOCK, 0);
  close(reader);
  close(writer);
}

TEST(Log, APipeThatNobodyReadsCostsLinesAndNotTheProcess)
{
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  speaks_without_a_reader(ends[0], ends[1]);
}

TEST(Log, NorDoesASocket)
{
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  speaks_without_a_reader(ends[0], ends[1]);
}

}  // namespace
}  // namespace spillway
