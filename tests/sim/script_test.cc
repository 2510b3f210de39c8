// SPDX-License-Identifier: Apache-2.0
// Scripts are read strictly: what is not understood is named, and never passed over.
#include "script.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "controls.h"
#include "director.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace spillway::sim {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string error_of(const std::string& text)
{
  const absl::StatusOr<Script> script = parse_script("trial", text);
  return script.ok() ? "" : std::string(script.status().message());
}

TEST(Script, ReadsSettingsStepsAndComments)
{
  const auto script = parse_script("trial",
                                   "# prose\n"
                                   "silence 50ms  # a setting\n"
                                   "\n"
                                   "start A\n"
                                   "hold votes of step 3 from A to coordinator\n"
                                   "until A has applied step 2 within 3s\n");
  ASSERT_TRUE(script.ok()) << script.status();
  ASSERT_EQ(script->lines.size(), 4u);
  EXPECT_EQ(script->lines[2].number, 5);
  EXPECT_EQ(script->lines[2].words.text("what"), "votes");
  EXPECT_EQ(script->lines[3].words.span("limit", {}), std::chrono::seconds(3));
}

TEST(Script, NamesTheLineAndTheNearestWord)
{
  EXPECT_THAT(error_of("start A\nkil A\n"), AllOf(HasSubstr("line 2"), HasSubstr("'kill'")));
  EXPECT_THAT(error_of("start A\nhold vots from A\n"), HasSubstr("'votes'"));
  EXPECT_THAT(error_of("start A\nuntil A has aplied step 2\n"), HasSubstr("'applied'"));
  EXPECT_THAT(error_of("start Ann\nkill Anne\n"), HasSubstr("'Ann'"));
  EXPECT_THAT(error_of("start A\nwait 30\n"), HasSubstr("'30ms'"));
}

TEST(Script, RefusesWhatIsMissingTooMuchOrOutOfPlace)
{
  EXPECT_THAT(error_of("start A\nhold votes from\n"), HasSubstr("something is missing"));
  EXPECT_THAT(error_of("start A\nkill A now\n"), HasSubstr("'now'"));
  EXPECT_THAT(error_of("start A\nstart A\n"), HasSubstr("line 2"));
  EXPECT_THAT(error_of("start A\nsilence 50ms\n"), HasSubstr("before the steps"));
  EXPECT_THAT(error_of("silence 50ms\n"), HasSubstr("no steps"));
}

TEST(Script, SaysWhichConditionWasNotReached)
{
  const auto script = parse_script("trial", "start A\nuntil A has left for 7 within 50ms\n");
  ASSERT_TRUE(script.ok());
  Branches branches;
  const Outcome outcome = run_script(*script, ProtocolRules{}, branches, false);
  EXPECT_THAT(outcome.unreached, HasSubstr("line 2"));
  EXPECT_TRUE(outcome.findings.empty());
}

TEST(Script, DoesTheSameEachTime)
{
  const auto script = parse_script("trial",
                                   "silence 50ms\nstart A\nstart B\nstart C\n"
                                   "until B has applied step 2\nkill C\nwait 30ms\n");
  ASSERT_TRUE(script.ok());
  Branches branches;
  const Outcome once = run_script(*script, ProtocolRules{}, branches, false);
  const Outcome again = run_script(*script, ProtocolRules{}, branches, false);
  EXPECT_EQ(once.end, "finished");
  EXPECT_EQ(once.events, again.events);
  EXPECT_EQ(once.applied_steps, again.applied_steps);
}

// What is held comes later, and what is lost never.
TEST(Script, HoldsLetsGoAndLoses)
{
  const auto run = [](const std::string& last) {
    const auto script = parse_script("trial",
                                     "start A\nstart B\nhold votes of step 3 from A to B\n"
                                     "until votes from A to B are held\n" +
                                         last);
    EXPECT_TRUE(script.ok()) << script.status();
    Branches branches;
    return run_script(*script, ProtocolRules{}, branches, false);
  };
  EXPECT_EQ(run("let go votes of step 3 from A to B\nuntil B has applied step 3\n").unreached, "");
  EXPECT_THAT(run("lose votes of step 3 from A to B\nuntil B has applied step 3\n").unreached,
              HasSubstr("line 6"));
}

std::string text_of(const char* name)
{
  std::ifstream file(std::filesystem::path(SPILLWAY_SIM_SOURCES) / name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Script, EveryPhraseIsDescribed)
{
  const std::string text = text_of("scripts/WORDS.md");
  for (const Phrase& phrase : phrases()) EXPECT_THAT(text, HasSubstr("\n" + phrase.words + "\n"));
}

// A control that nothing shows fails the table, and so does a rule that no line names.
TEST(Controls, NothingPassesUnnoticed)
{
  const std::string path = testing::TempDir() + "controls.txt";
  const std::string whole = text_of("controls.txt");
  const auto passes = [&](const std::string& table) {
    std::ofstream(path) << table;
    testing::internal::CaptureStdout();
    const bool all = run_controls(path, false);
    testing::internal::GetCapturedStdout();
    return all;
  };
  std::string seeds;  // scripts are looked for beside the table
  const std::vector<std::string> lines = absl::StrSplit(whole, '\n');
  for (const std::string& line : lines)
    absl::StrAppend(
        &seeds,
        absl::StrReplaceAll(
            line, {{"script ", absl::StrCat("script ", SPILLWAY_SIM_SOURCES, "/scripts/")}}),
        "\n");
  EXPECT_TRUE(passes(seeds));
  const std::string shown = absl::StrCat("script ", SPILLWAY_SIM_SOURCES, "/scripts/lost_word");
  EXPECT_FALSE(passes(absl::StrReplaceAll(seeds, {{shown, "open"}})));
  EXPECT_FALSE(passes(seeds.substr(seeds.find('\n', seeds.find("\nP2 ")))));
  // A script that shows another rule does not show this one.
  EXPECT_FALSE(passes(absl::StrReplaceAll(seeds, {{"/lost_word", "/named_number"}})));
  EXPECT_FALSE(run_controls(path + ".absent", false));
}

// The README's table of wordings says what controls.txt says.
TEST(Controls, ReadmeAgreesWithTheTable)
{
  const std::string table = text_of("controls.txt");
  int rows = 0;
  const std::vector<std::string> lines = absl::StrSplit(text_of("README.md"), '\n');
  for (const std::string& line : lines)
  {
    const std::vector<std::string> cells = absl::StrSplit(line, " | ");
    if (cells.size() != 3 || !cells[1].starts_with('`')) continue;
    ++rows;
    const std::string control = cells[1].substr(1, cells[1].size() - 2);
    EXPECT_THAT("\n" + table,
                HasSubstr("\n" + control + " " + cells[2].substr(0, cells[2].size() - 2) + "\n"));
  }
  EXPECT_EQ(rows, 17);
}

}  // namespace
}  // namespace spillway::sim
