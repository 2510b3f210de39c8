// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "log_check.h"

namespace spillway::invariants {
namespace {

std::string quoted(const std::string& text)
{
  std::string result = "\"";
  for (const char c : text)
  {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

}  // namespace

std::string LogReport::json() const
{
  std::string list;
  for (const Finding& finding : findings)
  {
    absl::StrAppend(&list, list.empty() ? "" : ",",
                    "{\"invariant\":", quoted(to_string(finding.invariant)),
                    ",\"what\":", quoted(finding.what), "}");
  }
  return absl::StrCat("{\"steps_applied\":", steps_applied, ",\"steps_aborted\":", steps_aborted,
                      ",\"steps_redone\":", steps_redone, ",\"samples_used\":", samples_used,
                      ",\"samples_lost\":", samples_lost, ",\"samples_doubled\":", samples_doubled,
                      ",\"replicas_equal\":", replicas_equal ? "true" : "false",
                      ",\"numbers\":", numbers, ",\"workers\":", workers, ",\"findings\":[", list,
                      "]}");
}

std::string LogReport::text() const
{
  std::string result =
      absl::StrCat("steps applied    ", steps_applied, "\nsteps aborted    ", steps_aborted,
                   "\nsteps redone     ", steps_redone, "\nsamples used     ", samples_used,
                   "\nsamples lost     ", samples_lost, "\nsamples doubled  ", samples_doubled,
                   "\nreplicas equal   ", replicas_equal ? "yes" : "no", "\nnumbers          ",
                   numbers, "\nworkers          ", workers, "\n");
  for (const Finding& finding : findings)
  {
    absl::StrAppend(&result, "VIOLATION ", to_string(finding.invariant), ": ", finding.what, "\n");
  }
  return result;
}

absl::StatusOr<LogReport> check_log_directory(const std::string& directory)
{
  std::error_code error;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error))
  {
    const std::string name = entry.path().filename().string();
    if (name.rfind("worker-", 0) == 0 && entry.path().extension() == ".jsonl")
    {
      paths.push_back(entry.path());
    }
  }
  if (error || paths.empty())
  {
    return absl::NotFoundError(absl::StrCat("no worker-*.jsonl in ", directory));
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::vector<std::string>> files;
  for (const auto& path : paths)
  {
    std::ifstream in(path);
    std::vector<std::string>& lines = files.emplace_back();
    for (std::string line; std::getline(in, line);)
    {
      if (!line.empty()) lines.push_back(line);
    }
  }
  return check_log_lines(files);
}

}  // namespace spillway::invariants
