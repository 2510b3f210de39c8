// SPDX-License-Identifier: Apache-2.0
#include "event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "spillway/base/log.h"

namespace spillway::engine {
namespace {

std::string step_fields(StateName name)
{
  return absl::StrCat("\"number\":", name.number.value(), ",\"step\":", name.step.value());
}

}  // namespace

EventLog::~EventLog()
{
  if (fd_ >= 0) close(fd_);
}

void EventLog::open(WorkerId worker, const DataOptions& data)
{
  if (!enabled()) return;
  {
    const std::lock_guard lock(mutex_);
    worker_ = worker;
    const std::string path = absl::StrCat(directory_, "/worker-", worker.value(), ".jsonl");
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd_ < 0)
    {
      log_warning("cannot write the event log ", path, ": ", std::strerror(errno),
                  "; training goes on without it");
      return;
    }
  }
  const std::string parts = absl::StrJoin(
      data.parts, ",",
      [](std::string* out, const DataPart& part) { absl::StrAppend(out, part.size); });
  write("job", absl::StrCat("\"global_batch\":", data.global_batch, ",\"parts\":[", parts, "]"));
}

void EventLog::epoch(Number number, StateName base, const MemberList& members)
{
  if (!enabled()) return;
  const std::string ids =
      absl::StrJoin(members.members(), ",", [](std::string* out, const MemberInfo& member) {
        absl::StrAppend(out, member.worker.value());
      });
  write("epoch",
        absl::StrCat("\"number\":", number.value(), ",\"base_number\":", base.number.value(),
                     ",\"base_step\":", base.step.value(), ",\"members\":[", ids, "]"));
}

void EventLog::contributed(StateName step, absl::Span<const PositionRange> received)
{
  if (!enabled()) return;
  const std::string ranges =
      absl::StrJoin(received, ",", [](std::string* out, const PositionRange& range) {
        absl::StrAppend(out, "[", range.part, ",", range.begin, ",", range.end, "]");
      });
  write("contributed", absl::StrCat(step_fields(step), ",\"ranges\":[", ranges, "]"));
}

void EventLog::applied(StateName state, std::uint64_t hash)
{
  if (!enabled()) return;
  write("applied",
        absl::StrCat(step_fields(state), ",\"hash\":\"", absl::Hex(hash, absl::kZeroPad16), "\""));
}

void EventLog::aborted(StateName step)
{
  if (enabled()) write("aborted", step_fields(step));
}

void EventLog::flight(absl::string_view records_json)
{
  if (enabled())
    write("flight", absl::StrCat("\"records\":", absl::StrReplaceAll(records_json, {{"\n", ""}})));
}

void EventLog::note(absl::string_view event, absl::string_view fields)
{
  if (enabled()) write(event, fields);
}

void EventLog::write(absl::string_view event, absl::string_view fields)
{
  const std::lock_guard lock(mutex_);
  if (fd_ < 0) return;
  const std::string line =
      absl::StrCat("{\"event\":\"", event, "\",\"worker\":", worker_.value(),
                   ",\"t_ns\":", clock_.now().time_since_epoch().count(), ",", fields, "}\n");
  const ssize_t written = ::write(fd_, line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size()) || complained_) return;
  complained_ = true;
  log_error("the event log takes no more lines (", std::strerror(errno),
            "): training goes on, but what it did from here on cannot be checked");
}

}  // namespace spillway::engine
