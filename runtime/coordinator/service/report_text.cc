// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "spillway/coordinator/report.h"

namespace spillway::coordinator {
namespace {

std::string number_or_dash(std::uint64_t value)
{
  return value == 0 ? "-" : absl::StrCat(value);
}

std::string state_of(const JobReport::Member& member)
{
  if (member.dead) return "dead";
  if (member.silent) return "silent";
  if (!member.connected) return "away";
  if (member.leaving) return "leaving";
  return member.in_epoch ? "member" : "waiting";
}

std::string member_line(const JobReport::Member& member)
{
  const std::string rank = member.in_epoch ? absl::StrCat(member.rank) : "-";
  const Telemetry& telemetry = member.telemetry;
  return absl::StrFormat("%6d  %4s  %4d  %-8s  %9s  %6d  %9.1f  %s\n", member.worker.value(), rank,
                         member.node.value(), state_of(member),
                         number_or_dash(member.installed.value()),
                         std::max(member.applied.step, telemetry.step).value(),
                         telemetry.samples_per_second, telemetry.doing);
}

std::string explanation(const JobReport& report)
{
  std::string out;
  if (!report.waiting_for.empty())
    absl::StrAppend(&out, "waits for: workers ",
                    absl::StrJoin(report.waiting_for, ", ",
                                  [](std::string* text, WorkerId worker) {
                                    absl::StrAppend(text, worker.value());
                                  }),
                    "\n");
  absl::StrAppend(&out, "next: ", report.next, "\n");
  for (const std::string& advice : report.advice) absl::StrAppend(&out, "  ", advice, "\n");
  for (const auto& [a, b] : report.unreachable_pairs)
    absl::StrAppend(&out, "cannot reach each other: workers ", a.value(), " and ", b.value(), "\n");
  if (!report.decisions.empty()) out += "last decisions:\n";
  for (const auto& past : report.decisions)
    absl::StrAppendFormat(&out, "  %8.1f s ago  %-9s  %s\n", past.seconds_ago, past.rule,
                          past.text);
  return out;
}

}  // namespace

std::string to_text(const JobReport& report, bool explain)
{
  std::string out = absl::StrFormat("job %s, lineage %016x, epoch %s, step %d", report.job,
                                    report.lineage.value(), number_or_dash(report.epoch.value()),
                                    report.step.value());
  if (report.pending) absl::StrAppend(&out, ", pending ", report.pending.value());
  if (report.open_abort) absl::StrAppend(&out, ", abort ", report.open_abort.value(), " is open");
  out += "\n";
  if (!report.ended.empty()) absl::StrAppend(&out, "over: ", report.ended, "\n");
  if (!report.alarm.empty()) absl::StrAppend(&out, "ALARM: ", report.alarm, "\n");
  for (const auto& node : report.nodes)
    absl::StrAppendFormat(&out, "node %d: %s (%s), %d slots, %s %.1f s ago\n", node.node.value(),
                          node.host, node.address, node.slots,
                          node.connected ? "heard" : "AWAY, heard", node.last_heard_seconds);
  if (!report.members.empty())
    out += "worker  rank  node  state     installed    step  samples/s  doing\n";
  for (const auto& member : report.members) out += member_line(member);
  if (explain) out += explanation(report);
  return out;
}

}  // namespace spillway::coordinator
