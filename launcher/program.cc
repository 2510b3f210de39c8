// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/program.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "spillway/base/status.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

bool is_file(const std::string& path)
{
  std::error_code error;
  return fs::is_regular_file(path, error);
}

absl::Status check_executable(const std::string& path)
{
  std::error_code error;
  if (!fs::exists(path, error)) return absl::NotFoundError(absl::StrCat(path, ": no such program"));
  if (!is_file(path))
    return absl::PermissionDeniedError(absl::StrCat(path, ": is not a file that can be executed"));
  if (access(path.c_str(), X_OK) == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat(path, ": may not be executed; try chmod +x ", path));
}

absl::StatusOr<std::string> find_executable(const std::string& name,
                                            const EnvironmentLookup& lookup)
{
  if (absl::StrContains(name, '/'))
  {
    SPILLWAY_RETURN_IF_ERROR(check_executable(name));
    return name;
  }
  const std::string path = lookup("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
  for (const absl::string_view folder : absl::StrSplit(path, ':', absl::SkipEmpty()))
  {
    const std::string candidate = absl::StrCat(folder, "/", name);
    if (is_file(candidate) && access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(absl::StrCat(
      name, ": no such program in PATH",
      is_file(name) ? absl::StrCat("; for the one in this folder write ./", name) : std::string()));
}

absl::StatusOr<std::string> find_python(const EnvironmentLookup& lookup)
{
  if (const auto chosen = lookup("PYTHON_EXEC"))
  {
    SPILLWAY_ASSIGN_OR_RETURN(std::string path, find_executable(*chosen, lookup));
    return path;
  }
  if (const auto virtual_env = lookup("VIRTUAL_ENV"))
  {
    const std::string inside = absl::StrCat(*virtual_env, "/bin/python");
    if (check_executable(inside).ok()) return inside;
  }
  for (const char* name : {"python3", "python"})
  {
    absl::StatusOr<std::string> path = find_executable(name, lookup);
    if (path.ok()) return path;
  }
  return absl::NotFoundError(
      "the program needs python, but neither python3 nor python is in PATH; name one in "
      "PYTHON_EXEC");
}

constexpr char kRunPath[] =
    "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')";

}  // namespace

absl::StatusOr<std::vector<std::string>> resolve_command(const RunOptions& options,
                                                         const EnvironmentLookup& lookup)
{
  const std::string& name = options.program.front();
  const bool script =
      options.program_kind == ProgramKind::kRunPath ||
      (options.program_kind == ProgramKind::kAutomatic && absl::EndsWith(name, ".py"));
  std::vector<std::string> command;
  if (script || options.program_kind == ProgramKind::kModule)
  {
    if (script && !is_file(name))
      return absl::NotFoundError(absl::StrCat(name, ": there is no such script"));
    SPILLWAY_ASSIGN_OR_RETURN(std::string python, find_python(lookup));
    command = {python, "-u"};
    if (options.program_kind == ProgramKind::kModule) command.push_back("-m");
    if (options.program_kind == ProgramKind::kRunPath)
      command.insert(command.end(), {"-c", kRunPath});
    command.push_back(name);
  }
  else
  {
    SPILLWAY_ASSIGN_OR_RETURN(std::string path, find_executable(name, lookup));
    command = {path};
  }
  command.insert(command.end(), options.program.begin() + 1, options.program.end());
  return command;
}

int count_cpus()
{
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

int count_gpus(const EnvironmentLookup& lookup, const std::string& dev)
{
  if (const auto visible = lookup("CUDA_VISIBLE_DEVICES"))
  {
    // As CUDA reads it: the list ends at the first entry that names no device.
    int count = 0;
    for (const absl::string_view item : absl::StrSplit(*visible, ',', absl::SkipWhitespace()))
    {
      if (item == "-1" || item == "NoDevFiles") break;
      ++count;
    }
    return count;
  }
  int count = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dev, error))
  {
    const std::string name = entry.path().filename().string();
    absl::string_view digits = name;
    int number = 0;
    if (absl::ConsumePrefix(&digits, "nvidia") && absl::SimpleAtoi(digits, &number)) ++count;
  }
  return count;
}

}  // namespace spillway
