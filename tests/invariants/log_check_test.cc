// SPDX-License-Identifier: Apache-2.0
#include "log_check.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace spillway::invariants {
namespace {

using Lines = std::vector<std::string>;

std::string job()
{
  return R"({"event":"job","worker":1,"global_batch":10,"parts":[40,60]})";
}
std::string epoch(int worker, int number, int base_number, int base_step, const char* members)
{
  return absl::StrCat("{\"event\":\"epoch\",\"worker\":", worker, ",\"number\":", number,
                      ",\"base_number\":", base_number, ",\"base_step\":", base_step,
                      ",\"members\":[", members, "],\"t_ns\":1}");
}
std::string contributed(int worker, int number, int step, const std::string& ranges)
{
  return absl::StrCat("{\"event\":\"contributed\",\"worker\":", worker, ",\"number\":", number,
                      ",\"step\":", step, ",\"ranges\":[", ranges, "]}");
}
std::string applied(int worker, int number, int step, const char* hash, int t_ns)
{
  return absl::StrCat("{\"event\":\"applied\",\"worker\":", worker, ",\"number\":", number,
                      ",\"step\":", step, ",\"hash\":\"", hash, "\",\"t_ns\":", t_ns, "}");
}
std::string range(int part, int begin, int end)
{
  return absl::StrCat("[", part, ",", begin, ",", end, "]");
}

// Two workers do steps 1 and 2 in number 1 (4 positions of part 0 and 6 of part 1 a step); worker
// 2 dies while step 3 is under way, and worker 1 does it again alone in number 3.
std::vector<Lines> sound_run()
{
  Lines one = {job(), epoch(1, 1, 0, 0, "1,2")};
  Lines two = {epoch(2, 1, 0, 0, "1,2")};
  for (int step = 1; step <= 3; ++step)
  {
    const int a = 4 * (step - 1), b = 6 * (step - 1);
    one.push_back(
        contributed(1, 1, step, absl::StrCat(range(0, a, a + 2), ",", range(1, b, b + 3))));
    two.push_back(
        contributed(2, 1, step, absl::StrCat(range(0, a + 2, a + 4), ",", range(1, b + 3, b + 6))));
    if (step == 3) break;
    const std::string hash = absl::StrCat("h", step);
    one.push_back(applied(1, 1, step, hash.c_str(), 10 * step));
    two.push_back(applied(2, 1, step, hash.c_str(), 10 * step + 1));
  }
  one.push_back(epoch(1, 3, 1, 2, "1"));
  one.push_back(contributed(1, 3, 3, absl::StrCat(range(0, 8, 12), ",", range(1, 12, 18))));
  one.push_back(applied(1, 3, 3, "h3", 60));
  two.push_back("{\"event\":\"appl");
  return {one, two};
}

LogReport check(const std::vector<Lines>& files)
{
  const auto report = check_log_lines(files);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : LogReport();
}

TEST(LogCheckTest, AcceptsASoundRunAndCountsIt)
{
  const LogReport report = check(sound_run());
  EXPECT_TRUE(report.findings.empty()) << report.text();
  EXPECT_EQ(report.steps_applied, 3u);
  EXPECT_EQ(report.steps_aborted, 1u);
  EXPECT_EQ(report.steps_redone, 1u);
  EXPECT_EQ(report.samples_used, 30u);
  EXPECT_EQ(report.samples_lost, 0u);
  EXPECT_EQ(report.samples_doubled, 0u);
  EXPECT_TRUE(report.replicas_equal);
}

// A step given up while its members still computed: nobody contributed to it.
TEST(LogCheckTest, CountsAStepThatWasAbortedBeforeAnybodyContributed)
{
  std::vector<Lines> run = sound_run();
  run[0].push_back(R"({"event":"aborted","worker":1,"t_ns":1,"number":1,"step":4})");
  const LogReport report = check(run);
  EXPECT_TRUE(report.findings.empty()) << report.text();
  EXPECT_EQ(report.steps_aborted, 2u);
  EXPECT_EQ(report.steps_redone, 1u);
}

// A mutant of the run: every contributed line in turn, with one range skipped or repeated.
TEST(LogCheckTest, ReportsEachSkippedAndEachRepeatedRange)
{
  int mutants = 0;
  const std::vector<Lines> sound = sound_run();
  for (std::size_t file = 0; file < sound.size(); ++file)
  {
    for (std::size_t line = 0; line < sound[file].size(); ++line)
    {
      const std::string& text = sound[file][line];
      if (text.find("contributed") == std::string::npos) continue;
      if (text.find("\"number\":1,\"step\":3") != std::string::npos) continue;  // was aborted
      const std::size_t begin = text.find("[[") + 1, end = text.find("],[") + 1;
      const std::string first = text.substr(begin, end - begin);
      std::vector<Lines> skipped = sound, repeated = sound;
      skipped[file][line] = text.substr(0, begin) + text.substr(end + 1);
      repeated[file][line] = text.substr(0, begin) + first + "," + text.substr(begin);
      EXPECT_GE(check(skipped).samples_lost, 2u) << skipped[file][line];
      EXPECT_GE(check(repeated).samples_doubled, 2u) << repeated[file][line];
      EXPECT_FALSE(check(skipped).findings.empty());
      EXPECT_FALSE(check(repeated).findings.empty());
      mutants += 2;
    }
  }
  EXPECT_EQ(mutants, 10);
}

TEST(LogCheckTest, ReportsReplicasThatDiffer)
{
  std::vector<Lines> files = sound_run();
  files[1][4] = applied(2, 1, 2, "other", 21);
  const LogReport report = check(files);
  EXPECT_FALSE(report.replicas_equal);
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].invariant, Invariant::kEqualStates);
}

TEST(LogCheckTest, ReportsAStepThatWasUndoneThoughItsHolderLivedOn)
{
  std::vector<Lines> files = sound_run();
  files[0][files[0].size() - 3] = epoch(1, 3, 1, 1, "1");  // worker 1 had applied step 2
  const LogReport report = check(files);
  bool undone = false;
  for (const Finding& finding : report.findings)
  {
    undone = undone || finding.invariant == Invariant::kNothingUndone;
  }
  EXPECT_TRUE(undone) << report.text();
}

TEST(LogCheckTest, ReportsWorkersThatDisagreeAboutABase)
{
  std::vector<Lines> files = sound_run();
  files[1].insert(files[1].end() - 1, epoch(2, 3, 1, 1, "1"));
  const LogReport report = check(files);
  ASSERT_FALSE(report.findings.empty());
  EXPECT_EQ(report.findings[0].invariant, Invariant::kOneLineage);
}

TEST(LogCheckTest, ReportsAStepAppliedBeforeAMemberHadAppliedTheOneBefore)
{
  std::vector<Lines> files = sound_run();
  files[1][2] = applied(2, 1, 1, "h1", 999);
  const LogReport report = check(files);
  ASSERT_EQ(report.findings.size(), 1u) << report.text();
  EXPECT_EQ(report.findings[0].invariant, Invariant::kOneStepApart);
}

TEST(LogCheckTest, ReportsANumberThatWasUsedTwice)
{
  std::vector<Lines> files = sound_run();
  files[1].insert(files[1].end() - 1, epoch(2, 3, 1, 2, "1,2"));
  const LogReport report = check(files);
  ASSERT_EQ(report.findings.size(), 1u) << report.text();
  EXPECT_EQ(report.findings[0].invariant, Invariant::kNumbersUnique);
}

// Worker 2 goes on in number 1 after worker 1 has trained without it in number 3.
TEST(LogCheckTest, ReportsASecondLineage)
{
  std::vector<Lines> files = sound_run();
  files[1].back() = applied(2, 1, 3, "h3b", 70);
  const LogReport report = check(files);
  ASSERT_FALSE(report.findings.empty());
  EXPECT_EQ(report.findings[0].invariant, Invariant::kOneLineage) << report.text();
}

TEST(LogCheckTest, CountsALostRangeOnce)
{
  Lines one = {R"({"event":"job","worker":1,"global_batch":10,"parts":[15]})",
               epoch(1, 1, 0, 0, "1")};
  const char* const ranges[] = {"[0,0,10]", "[0,10,17]", "[0,20,30]", "[0,30,40]"};
  for (int step = 1; step <= 4; ++step)
  {
    one.push_back(contributed(1, 1, step, ranges[step - 1]));
    one.push_back(applied(1, 1, step, "x", step));
  }
  const LogReport report = check({one});
  EXPECT_EQ(report.samples_lost, 3u) << report.text();
  EXPECT_EQ(report.samples_used, 37u) << report.text();
  EXPECT_EQ(report.samples_doubled, 0u);
}

TEST(LogCheckTest, RefusesALineInTheMiddleThatIsNotJson)
{
  std::vector<Lines> files = sound_run();
  files[0][1] = "{\"event\":";
  EXPECT_EQ(check_log_lines(files).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check_log_directory("/nonexistent/logs").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace spillway::invariants
