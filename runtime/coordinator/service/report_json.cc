// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "absl/strings/str_format.h"
#include "spillway/coordinator/report.h"

namespace spillway::coordinator {
namespace {

std::string json_text(absl::string_view text)
{
  std::string out = "\"";
  for (const char c : text)
  {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      absl::StrAppend(&out, "\\", std::string(1, c));
    else if (c == '\n')
      out += "\\n";
    else if (byte < 0x20 || byte == 0x7f)
      absl::StrAppendFormat(&out, "\\u%04x", byte);
    else
      out += c;
  }
  return out + '"';
}

// Writes one object or list after the other, so that each field is one line here.
class JsonObject
{
 public:
  JsonObject& raw(absl::string_view name, absl::string_view value)
  {
    absl::StrAppend(&out_, out_.empty() ? "" : ",", json_text(name), ":", value);
    return *this;
  }
  JsonObject& text(absl::string_view name, absl::string_view value)
  {
    return raw(name, json_text(value));
  }
  JsonObject& number(absl::string_view name, std::uint64_t value)
  {
    return raw(name, absl::StrCat(value));
  }
  JsonObject& number(absl::string_view name, double value)
  {
    return raw(name, std::isfinite(value) ? absl::StrFormat("%.6g", value) : "null");
  }
  template <typename Tag, typename Value>
  JsonObject& id(absl::string_view name, StrongId<Tag, Value> value)
  {
    return number(name, std::uint64_t{value.value()});
  }
  JsonObject& flag(absl::string_view name, bool value)
  {
    return raw(name, value ? "true" : "false");
  }
  JsonObject& lineage(Lineage value)
  {
    return text("lineage", absl::StrFormat("%016x", value.value()));
  }
  std::string str() const { return "{" + out_ + "}"; }

 private:
  std::string out_;
};

template <typename Items, typename Write>
std::string list(const Items& items, const Write& write)
{
  std::string out;
  for (const auto& item : items) absl::StrAppend(&out, out.empty() ? "" : ",", write(item));
  return "[" + out + "]";
}

std::string node_json(const JobReport::Node& node)
{
  return JsonObject()
      .id("node", node.node)
      .text("host", node.host)
      .text("address", node.address)
      .number("slots", std::uint64_t{node.slots})
      .flag("connected", node.connected)
      .number("last_heard_seconds", node.last_heard_seconds)
      .str();
}

std::string telemetry_json(const Telemetry& telemetry)
{
  return JsonObject()
      .id("step", telemetry.step)
      .number("step_seconds", telemetry.step_seconds)
      .number("samples_per_second", telemetry.samples_per_second)
      .number("steps_aborted", telemetry.steps_aborted)
      .text("doing", telemetry.doing)
      .str();
}

std::string member_json(const JobReport::Member& member)
{
  return JsonObject()
      .id("worker", member.worker)
      .id("node", member.node)
      .text("address", member.address)
      .number("rank", std::uint64_t{member.rank})
      .flag("in_epoch", member.in_epoch)
      .flag("connected", member.connected)
      .flag("silent", member.silent)
      .flag("dead", member.dead)
      .flag("leaving", member.leaving)
      .id("promised", member.promised)
      .id("installed", member.installed)
      .raw("applied",
           JsonObject().id("number", member.applied.number).id("step", member.applied.step).str())
      .raw("telemetry", telemetry_json(member.telemetry))
      .str();
}

std::string decision_json(const JobReport::PastDecision& past)
{
  return JsonObject()
      .number("seconds_ago", past.seconds_ago)
      .text("rule", past.rule)
      .text("text", past.text)
      .str();
}

}  // namespace

std::string to_json(const JobReport& report)
{
  const auto worker = [](WorkerId id) { return absl::StrCat(id.value()); };
  const auto pair = [](const std::pair<WorkerId, WorkerId>& both) {
    return absl::StrCat("[", both.first.value(), ",", both.second.value(), "]");
  };
  return JsonObject()
      .text("job", report.job)
      .lineage(report.lineage)
      .number("term", report.term)
      .id("epoch", report.epoch)
      .id("pending", report.pending)
      .id("open_abort", report.open_abort)
      .id("step", report.step)
      .text("ended", report.ended)
      .text("alarm", report.alarm)
      .raw("nodes", list(report.nodes, node_json))
      .raw("members", list(report.members, member_json))
      .raw("waiting_for", list(report.waiting_for, worker))
      .text("next", report.next)
      .raw("advice", list(report.advice, [](const std::string& text) { return json_text(text); }))
      .raw("decisions", list(report.decisions, decision_json))
      .raw("unreachable_pairs", list(report.unreachable_pairs, pair))
      .str();
}

std::string to_json(const std::vector<JobSummary>& jobs)
{
  const auto job = [](const JobSummary& summary) {
    return JsonObject()
        .text("job", summary.job)
        .lineage(summary.lineage)
        .id("epoch", summary.epoch)
        .number("members", std::uint64_t{summary.members})
        .text("ended", summary.ended)
        .str();
  };
  return JsonObject().raw("jobs", list(jobs, job)).str();
}

}  // namespace spillway::coordinator
