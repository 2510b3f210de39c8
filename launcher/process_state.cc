// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/process_state.h"

#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace spillway {
namespace {

constexpr int kDepthMax = 64;

std::string read_file(const std::string& path, std::size_t size_max = 4096)
{
  std::ifstream in(path);
  std::string text(size_max, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size_max));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

std::string one_line(std::string text)
{
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return absl::StrReplaceAll(text, {{"\n", " | "}});
}

}  // namespace

ProcessState parse_process_state(absl::string_view stat, absl::string_view status)
{
  ProcessState out;
  // The name in parentheses may hold anything, also ')': the state follows the last one.
  const std::size_t close = stat.rfind(')');
  if (close == absl::string_view::npos || close + 2 >= stat.size()) return out;
  out.state = stat[close + 2];
  const std::vector<absl::string_view> fields = absl::StrSplit(stat.substr(close + 2), ' ');
  int parent = 0;
  if (fields.size() > 1 && absl::SimpleAtoi(fields[1], &parent)) out.parent = parent;
  for (absl::string_view line : absl::StrSplit(status, '\n'))
  {
    int tracer = 0;
    if (absl::ConsumePrefix(&line, "TracerPid:") && absl::SimpleAtoi(line, &tracer))
      out.tracer = tracer;
  }
  return out;
}

ProcessState read_process_state(pid_t pid, const std::string& proc)
{
  const std::string folder = absl::StrCat(proc, "/", pid, "/");
  ProcessState out = parse_process_state(read_file(folder + "stat"), "");
  if (out.state == 'T')
    out = parse_process_state(read_file(folder + "stat"), read_file(folder + "status"));
  return out;
}

pid_t child_that_started(pid_t pid, pid_t ancestor, const std::string& proc)
{
  pid_t at = pid;
  for (int depth = 0; depth < kDepthMax && at > 1; ++depth)
  {
    const pid_t parent = read_process_state(at, proc).parent;
    if (parent == ancestor) return at;
    at = parent;
  }
  return pid;
}

std::string describe_threads(pid_t pid, int threads_max, const std::string& proc)
{
  std::string out;
  std::error_code error;
  int seen = 0;
  for (const auto& task :
       std::filesystem::directory_iterator(absl::StrCat(proc, "/", pid, "/task"), error))
  {
    if (++seen > threads_max)
    {
      absl::StrAppend(&out, "  … more than ", threads_max, " threads\n");
      break;
    }
    const std::string folder = task.path().string();
    const ProcessState state = parse_process_state(read_file(folder + "/stat"), "");
    absl::StrAppend(&out, "  thread ", task.path().filename().string(), " (",
                    one_line(read_file(folder + "/comm")), ") state ", std::string(1, state.state),
                    ", waits in ", one_line(read_file(folder + "/wchan")), ", system call ",
                    one_line(read_file(folder + "/syscall")), "\n");
    const std::string stack = one_line(read_file(folder + "/stack"));
    if (!stack.empty()) absl::StrAppend(&out, "    kernel stack ", stack, "\n");
  }
  return out.empty() ? absl::StrCat("  process ", pid, " has no threads left\n") : out;
}

}  // namespace spillway
