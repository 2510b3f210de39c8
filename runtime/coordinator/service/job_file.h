// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "spillway/base/bytes.h"
#include "spillway/coordinator/hello.h"
#include "spillway/coordinator/job_record.h"

namespace spillway::coordinator {

// A node as it is remembered over a restart.
struct KeptNode
{
  NodeId node;
  std::uint64_t session = 0;
  std::string host;
  std::string address;
  std::uint32_t master_port = 0;
  std::uint32_t slots = 0;
  std::uint64_t round = 0;  // the newest it takes part in; 0: none yet
  friend bool operator==(const KeptNode&, const KeptNode&) = default;
};

// What the store keeps of one job: the membership core's record, and what its driver must not
// forget: with whom the job was agreed, what it trains, which nodes and rounds there were.
struct JobFile
{
  std::optional<JobOptions> options;  // none: no agent has come yet
  std::optional<JobSpec> spec;        // of the first worker
  WorkerId spec_owner;
  NodeId next_node{1};
  std::map<NodeId, KeptNode> nodes;
  Rendezvous round;  // the newest
  ExitReport exit;   // of the worker that ended the job
};

// One value for the store: `file`, then `record` if there is one, then a hash of both.
std::string encode_job(const JobFile& file, const JobRecord* record);

struct StoredJob
{
  JobFile file;
  std::optional<JobRecord> record;
};
// kDataLoss for bytes that encode_job() did not write; the message says what to do.
absl::StatusOr<StoredJob> decode_job(const std::string& job, ByteSpan bytes);

}  // namespace spillway::coordinator
