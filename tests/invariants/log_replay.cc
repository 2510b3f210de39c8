// SPDX-License-Identifier: Apache-2.0
#include "log_replay.h"

#include <algorithm>
#include <map>
#include <set>

namespace spillway::invariants {

void replay(std::vector<LogEvent> events, Ledger& ledger)
{
  std::map<std::size_t, std::int64_t> last_ns;
  std::map<std::size_t, std::size_t> left;  // lines of a file
  for (LogEvent& event : events)
  {
    std::int64_t& last = last_ns[event.file];
    last = event.at_ns = std::max(event.at_ns, last);
    ++left[event.file];
  }
  std::stable_sort(events.begin(), events.end(),
                   [](const LogEvent& a, const LogEvent& b) { return a.at_ns < b.at_ns; });
  std::set<Number> known;
  for (const LogEvent& event : events)
  {
    if (event.kind == LogEvent::Kind::kApplied)
    {
      ledger.applied(event.worker, event.state, event.hash);
    }
    else
    {
      ledger.published(event.number, event.hash);
      // Nobody may lose a step by it, whether a fault made the number or a plan did.
      if (known.insert(event.number).second) ledger.formed(event.number, event.state);
      ledger.activated(event.worker, event.number, event.state);
      if (event.state.step.value() == 0) ledger.obtained(event.worker, event.state, 0);
    }
    if (--left[event.file] == 0) ledger.died(event.worker);
  }
}

}  // namespace spillway::invariants
