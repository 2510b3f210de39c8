// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "spillway/base/ids.h"

namespace spillway::coordinator {

// Leaders of one store are numbered; a higher term deposes every lower one.
using Term = StrongId<struct TermTag>;

// What the coordinator remembers over its own death: one record per job, opaque bytes here.
//
// A handle is opened by one process and used by one thread at a time. Several handles, also of
// several processes, may be open on the same storage: that is two coordinators, and the term
// decides between them. When a call returns OK the change is durable; when it fails the storage
// holds either the old record or the new one, whole.
//   kFailedPrecondition  a leader with a higher term has taken over: stop writing for good
//   kResourceExhausted   no room, though this term leads: hold, raise an alarm, try again later
//   kUnavailable         locked or failing input and output: try again later
//   kDataLoss            what was read is not what was written: refuse it; an operator must act
class Store
{
 public:
  virtual ~Store() = default;
  // Becomes the leader under a term above every earlier one. Durable when it returns.
  virtual absl::StatusOr<Term> begin_term() = 0;
  // Replaces the record of `job`, unless a term above `term` has begun. An empty record is fine.
  virtual absl::Status write(Term term, const std::string& job, absl::string_view record) = 0;
  virtual absl::Status erase(Term term, const std::string& job) = 0;
  // The record, or nothing if the job has none.
  virtual absl::StatusOr<std::optional<std::string>> load(const std::string& job) = 0;
  // Names with a record, in byte order.
  virtual absl::StatusOr<std::vector<std::string>> list_jobs() = 0;
  // For messages: what is open, e.g. the file's path.
  virtual std::string description() const = 0;
};

// Storage in this process, for tests and for jobs that need not outlive their coordinator. The
// bytes live in the MemoryDisk, so that a handle can die and another be opened. The disk is safe
// from any thread, its handles are not.
class MemoryDisk;
std::shared_ptr<MemoryDisk> make_memory_disk();
std::unique_ptr<Store> open_memory_store(std::shared_ptr<MemoryDisk> disk);

// How the disk misbehaves, for tests.
struct MemoryFaults
{
  // Writes fail for lack of room while set.
  bool full = false;
  // Writes fail as unavailable while set; what they would have written is lost.
  bool unavailable = false;
  // As before, but the write that fails took place: the leader does not know.
  bool unacknowledged = false;
};
void set_faults(MemoryDisk& disk, MemoryFaults faults);
// Turns one byte of the job's record over, behind the checksum's back.
void corrupt(MemoryDisk& disk, const std::string& job);

// One SQLite file in write-ahead mode, synced in full before a write returns.
struct SqliteStoreOptions
{
  // Without it a file that does not exist is an error instead of a new store.
  bool create = true;
  // The file refuses to grow beyond this; 0 leaves it to the disk.
  std::uint64_t size_bytes_max = 0;
  // How long a write waits for another coordinator's write to finish, in milliseconds.
  int busy_timeout_ms = 2000;
};
// Refuses a file that is damaged (kDataLoss) or that is no store of this version
// (kFailedPrecondition); the message says what to do.
absl::StatusOr<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& file,
                                                         const SqliteStoreOptions& options = {});

}  // namespace spillway::coordinator
