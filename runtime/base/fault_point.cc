// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/fault_point.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "spillway/base/check.h"
#include "spillway/base/environment.h"

namespace spillway {
namespace {

// Worker side, in the order of a step; then joining; then the coordinator's writes.
constexpr std::array kFaultPoints = {
    "step.begin",
    "backward",
    "bucket.contributed",
    "reduce.done",
    "vote.cast",
    "word.complete",
    "apply.before",
    "apply.after",
    "switch.before",
    "collective.called",
    "join.registered",
    "join.copying",
    "join.copied",
    "serve.state",
    "abort.received",
    "stopped.sent",
    "epoch.received",
    "leave.requested",
    "coordinator.write",
    "coordinator.written",
    "coordinator.announced",
};

struct Rule
{
  std::string point;
  std::map<std::string, std::uint64_t> where;
  std::string action;
  int exit_code = 0;
  bool fired = false;
};

bool known(absl::string_view name)
{
  for (const char* point : kFaultPoints)
    if (name == point) return true;
  return false;
}

absl::StatusOr<Rule> parse_rule(absl::string_view text)
{
  const std::vector<std::string> halves = absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (halves.size() != 2)
    return absl::InvalidArgumentError(absl::StrCat("fault rule '", text, "' has no ':action'"));
  const std::vector<std::string> place = absl::StrSplit(halves[0], '@');
  Rule rule{.point = place[0], .where = {}, .action = halves[1]};
  if (!known(rule.point))
    return absl::InvalidArgumentError(absl::StrCat("no fault point is named '", rule.point, "'"));
  for (std::size_t i = 1; i < place.size(); ++i)
  {
    const std::vector<std::string> pair = absl::StrSplit(place[i], '=');
    std::uint64_t value = 0;
    const bool key_ok =
        pair[0] == "worker" || pair[0] == "step" || pair[0] == "rank" || pair[0] == "hit";
    if (pair.size() != 2 || !key_ok || !absl::SimpleAtoi(pair[1], &value))
      return absl::InvalidArgumentError(absl::StrCat(
          "fault rule condition '", place[i], "' is not worker=, step=, rank= or hit= a number"));
    rule.where[pair[0]] = value;
  }
  if (absl::StrContains(rule.action, "exit="))
  {
    if (!absl::SimpleAtoi(rule.action.substr(5), &rule.exit_code))
      return absl::InvalidArgumentError(absl::StrCat("fault action '", rule.action, "'"));
    rule.action = "exit";
  }
  if (rule.action != "kill" && rule.action != "stop" && rule.action != "exit")
    return absl::InvalidArgumentError(
        absl::StrCat("fault action '", rule.action, "' is not kill, stop or exit=N"));
  return rule;
}

class Injector
{
 public:
  Injector()
  {
    if (auto file = environment("SPILLWAY_FAULT_LOG")) log_path_ = *file;
    const auto text = environment("SPILLWAY_FAULT");
    if (!text || text->empty()) return;
    for (absl::string_view part : absl::StrSplit(*text, ',', absl::SkipEmpty()))
    {
      auto rule = parse_rule(part);
      SPILLWAY_CHECK(rule.ok(), rule.status().message());
      rules_.push_back(*std::move(rule));
    }
  }

  bool idle() const { return rules_.empty() && log_path_.empty(); }

  void pass(absl::string_view name, const FaultContext& context)
  {
    const std::lock_guard lock(mutex_);
    const std::uint64_t hit = ++hits_[std::string(name)];
    if (hit == 1) note(name);
    for (Rule& rule : rules_)
    {
      if (rule.fired || rule.point != name || !matches(rule, context, hit)) continue;
      rule.fired = true;
      act(rule);
    }
  }

 private:
  static bool matches(const Rule& rule, const FaultContext& context, std::uint64_t hit)
  {
    for (const auto& [key, value] : rule.where)
    {
      const std::uint64_t actual = key == "worker" ? context.worker
                                   : key == "step" ? context.step
                                   : key == "rank" ? context.rank
                                                   : hit;
      if (actual != value) return false;
    }
    return true;
  }

  static void act(const Rule& rule)
  {
    if (rule.action == "kill") kill(getpid(), SIGKILL);
    if (rule.action == "stop") kill(getpid(), SIGSTOP);
    if (rule.action == "exit") _exit(rule.exit_code);
  }

  void note(absl::string_view name)
  {
    if (log_path_.empty()) return;
    const int fd = open(log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return;
    const std::string line = absl::StrCat(name, "\n");
    // One small append is atomic; a test reads the file after the processes have ended.
    [[maybe_unused]] const auto written = write(fd, line.data(), line.size());
    close(fd);
  }

  std::mutex mutex_;
  std::map<std::string, std::uint64_t> hits_;
  std::vector<Rule> rules_;
  std::string log_path_;
};

}  // namespace

void fault_point(absl::string_view name, const FaultContext& context)
{
  static Injector* const injector = new Injector;
  if (injector->idle()) [[likely]]
    return;
  SPILLWAY_CHECK(known(name), "fault point '", name, "' is not listed");
  injector->pass(name, context);
}

std::vector<std::string> fault_point_names()
{
  return {kFaultPoints.begin(), kFaultPoints.end()};
}

absl::Status check_fault_rules(absl::string_view rules)
{
  for (absl::string_view part : absl::StrSplit(rules, ',', absl::SkipEmpty()))
    if (auto rule = parse_rule(part); !rule.ok()) return rule.status();
  return absl::OkStatus();
}

}  // namespace spillway
