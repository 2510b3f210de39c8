// SPDX-License-Identifier: Apache-2.0
#include "script.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace spillway::testing {
namespace {

constexpr absl::string_view kExpected = "  > ";

ScriptLine parse(absl::string_view line)
{
  ScriptLine out;
  for (absl::string_view word : absl::StrSplit(line, ' ', absl::SkipEmpty()))
  {
    const std::vector<std::string> pair = absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (out.command.empty())
      out.command = std::string(word);
    else if (pair.size() == 2)
      out.settings[pair[0]] = pair[1];
    else
      out.words.push_back(pair[0]);
  }
  return out;
}

class ScriptTest : public ::testing::Test
{
 public:
  ScriptTest(std::string path, ScriptInterpreter interpreter, bool update)
      : path_(std::move(path)), interpreter_(std::move(interpreter)), update_(update)
  {
  }
  void TestBody() override { run_script(path_, interpreter_, update_); }

 private:
  std::string path_;
  ScriptInterpreter interpreter_;
  bool update_;
};

}  // namespace

std::uint64_t ScriptLine::number(std::size_t word) const
{
  std::uint64_t value = 0;
  if (word >= words.size() || !absl::SimpleAtoi(words[word], &value))
    ADD_FAILURE() << command << " wants a number as word " << word + 1;
  return value;
}

void run_script(const std::string& path, const ScriptInterpreter& interpreter, bool update)
{
  std::ifstream file(path);
  ASSERT_TRUE(file) << "cannot read " << path;
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  std::vector<std::string> rewritten;
  std::size_t events = 0;
  for (std::size_t i = 0; i < lines.size();)
  {
    const std::string line = lines[i++];
    rewritten.push_back(line);
    if (line.empty() || line[0] == '#' || absl::StartsWith(line, kExpected)) continue;
    ++events;
    std::vector<std::string> expected;
    const std::size_t at = i;
    for (; i < lines.size() && absl::StartsWith(lines[i], kExpected); ++i)
      expected.push_back(lines[i].substr(kExpected.size()));
    const std::vector<std::string> actual = interpreter(parse(line));
    for (const std::string& action : actual) rewritten.push_back(absl::StrCat(kExpected, action));
    if (update) continue;
    EXPECT_EQ(absl::StrJoin(expected, "\n"), absl::StrJoin(actual, "\n"))
        << path << ":" << at << ": " << line;
  }
  EXPECT_GT(events, 0u) << path << " has no events";
  file.close();
  if (update) std::ofstream(path) << absl::StrJoin(rewritten, "\n") << "\n";
}

int run_script_tests(int argc, char** argv, const std::string& folder,
                     const std::function<ScriptInterpreter()>& make_interpreter)
{
  ::testing::InitGoogleTest(&argc, argv);
  const bool update = argc > 1 && absl::string_view(argv[1]) == "--update";
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".txt") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths)
  {
    const std::string name = std::filesystem::path(path).stem().string();
    ::testing::RegisterTest("Script", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                            [path, make_interpreter, update]() -> ScriptTest* {
                              return new ScriptTest(path, make_interpreter(), update);
                            });
  }
  return RUN_ALL_TESTS();
}

}  // namespace spillway::testing
