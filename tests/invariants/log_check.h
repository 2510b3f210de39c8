// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger.h"

namespace spillway::invariants {

// What the event logs of one job say. Counts are of samples (positions) and of steps.
struct LogReport
{
  std::uint64_t steps_applied = 0;  // in the committed lineage
  std::uint64_t steps_aborted = 0;  // begun under a number that did not commit them
  std::uint64_t steps_redone = 0;   // of these, committed under another number
  std::uint64_t samples_used = 0;   // in the committed lineage
  std::uint64_t samples_lost = 0;
  std::uint64_t samples_doubled = 0;
  std::uint64_t numbers = 0;  // epochs and plans that became active
  std::uint64_t workers = 0;
  bool replicas_equal = true;
  std::vector<Finding> findings;

  std::string json() const;
  std::string text() const;
};

// Reads every worker-*.jsonl in `directory` and judges them by what the loops really received and
// contributed, never by a plan. One line is one event with `worker` and `t_ns`:
//   job          global_batch, parts: [sizes]
//   epoch        number, base_number, base_step, members: a number became current on this worker
//   contributed  number, step, ranges: [[part, begin, end], …], logged before the vote
//   applied      number, step, hash
//   aborted      number, step
// Positions are running: the k-th sample ever drawn from a part has position k, over all passes.
// The last line of a file may be cut short, as a kill leaves it. kNotFound without logs, kDataLoss
// for a line that cannot be read.
absl::StatusOr<LogReport> check_log_directory(const std::string& directory);

// The same for lines already read, one vector per file. For tests.
absl::StatusOr<LogReport> check_log_lines(const std::vector<std::vector<std::string>>& files);

}  // namespace spillway::invariants
