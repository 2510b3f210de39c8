// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/worker_output.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace spillway {
namespace {

using testing::ElementsAre;

struct Pipe
{
  Pipe()
  {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_end = Descriptor(ends[0]);
    write_end = Descriptor(ends[1]);
    fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  }
  std::string taken()
  {
    std::string text(1 << 20, '\0');
    const ssize_t got = read(read_end.get(), text.data(), text.size());
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  Descriptor read_end;
  Descriptor write_end;
};

TEST(Console, NeverWaitsForItsReader)
{
  Pipe pipe;
  Console console(pipe.write_end.get(), 1000);
  const std::string much(200000, 'x');
  console.write(much);
  EXPECT_TRUE(console.full());
  std::size_t seen = 0;
  for (int i = 0; i < 100 && !console.idle(); ++i)
  {
    seen += pipe.taken().size();
    console.flush();
  }
  seen += pipe.taken().size();
  EXPECT_EQ(seen, much.size());
}

TEST(LogFile, AFullDiskCostsLinesAndNothingElse)
{
  absl::StatusOr<std::unique_ptr<LogFile>> file = LogFile::open("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  testing::internal::CaptureStderr();
  (*file)->write("hello\n");
  (*file)->write("world\n");
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ((*file)->dropped_bytes(), 12U);
  EXPECT_THAT(said, testing::HasSubstr("ALARM: log /dev/full cannot be written: No space left"));
  EXPECT_EQ(said.find("ALARM"), said.rfind("ALARM")) << "one alarm for many losses";
}

TEST(LogFile, ThatCannotBeOpened)
{
  EXPECT_EQ(LogFile::open("/nonexistent/folder/log").status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(WorkerOutput, PrefixesWholeLines)
{
  Pipe pipe;
  Console console(pipe.write_end.get());
  OutputPlan plan;
  plan.console = &console;
  plan.line_prefix = "[default1]:";
  WorkerOutput output(plan);
  output.take("one\ntw");
  EXPECT_EQ(pipe.taken(), "[default1]:one\n");
  output.take("o\nthree");
  output.finish();
  EXPECT_EQ(pipe.taken(), "[default1]:two\n[default1]:three\n");
}

TEST(WorkerOutput, WithoutAPrefixBytesPassAtOnce)
{
  Pipe pipe;
  Console console(pipe.write_end.get());
  OutputPlan plan;
  plan.console = &console;
  WorkerOutput output(plan);
  output.take("50 %\r");
  EXPECT_EQ(pipe.taken(), "50 %\r");
}

TEST(WorkerOutput, KeepsTheLastLines)
{
  WorkerOutput output{OutputPlan()};
  for (int i = 0; i < 500; ++i) output.take("line " + std::to_string(i) + "\n");
  output.take("unfinished");
  output.finish();
  EXPECT_THAT(output.last_lines(3), ElementsAre("line 498", "line 499", "unfinished"));
}

TEST(WorkerOutput, ALineWithoutEndIsBounded)
{
  WorkerOutput output{OutputPlan()};
  for (int i = 0; i < 1000; ++i) output.take(std::string(1000, 'y'));
  for (const std::string& line : output.last_lines(1000)) EXPECT_LE(line.size(), 1024U);
}

TEST(WorkerOutput, CopiesChosenLines)
{
  const std::string path = testing::TempDir() + "/filtered_" + std::to_string(getpid());
  OutputPlan plan;
  plan.filtered = std::move(*LogFile::open(path));
  plan.filters = {"loss", "ERROR"};
  WorkerOutput output(plan);
  output.take("loss 3\nnoise\nan ERROR\n");
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_EQ(text.str(), "loss 3\nan ERROR\n");
  unlink(path.c_str());
}

TEST(LinePrefix, Macros)
{
  EXPECT_EQ(line_prefix("", {"default", 1, 5}), "[default1]:");
  EXPECT_EQ(line_prefix("<${role_name}/$local_rank/${rank}/${pid}> ", {"r", 1, 5}),
            "<r/1/5/${pid}> ");
}

}  // namespace
}  // namespace spillway
