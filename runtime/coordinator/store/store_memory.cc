// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "spillway/coordinator/store.h"
#include "store/record_checksum.h"

namespace spillway::coordinator {

class MemoryDisk
{
 public:
  struct Record
  {
    std::string bytes;
    std::uint64_t checksum = 0;
  };

  absl::StatusOr<Term> begin_term()
  {
    const std::lock_guard lock(mutex_);
    if (absl::Status status = before_write(); !status.ok()) return status;
    term_ = term_.next();
    return after_write(term_);
  }

  absl::Status replace(Term term, const std::string& job, std::optional<std::string> bytes)
  {
    const std::lock_guard lock(mutex_);
    if (absl::Status status = before_write(); absl::IsUnavailable(status)) return status;
    if (term < term_)
      return absl::FailedPreconditionError(
          absl::StrCat("job ", job, ": term ", term.value(), " has ended, another coordinator ",
                       "leads this store under term ", term_.value()));
    if (absl::Status status = before_write(); !status.ok()) return status;
    if (bytes)
    {
      const std::uint64_t checksum = record_checksum(job, *bytes);
      records_[job] = Record{std::move(*bytes), checksum};
    }
    else
    {
      records_.erase(job);
    }
    return after_write(term_).status();
  }

  absl::StatusOr<std::optional<std::string>> load(const std::string& job)
  {
    const std::lock_guard lock(mutex_);
    const auto found = records_.find(job);
    if (found == records_.end()) return std::optional<std::string>();
    if (record_checksum(job, found->second.bytes) != found->second.checksum)
      return absl::DataLossError(absl::StrCat(
          "the record of job ", job, " in memory is damaged; start the job under a new name"));
    return std::optional<std::string>(found->second.bytes);
  }

  std::vector<std::string> list_jobs()
  {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, record] : records_) names.push_back(name);
    return names;
  }

  void set_faults(MemoryFaults faults)
  {
    const std::lock_guard lock(mutex_);
    faults_ = faults;
  }

  void corrupt(const std::string& job)
  {
    const std::lock_guard lock(mutex_);
    const auto found = records_.find(job);
    if (found == records_.end() || found->second.bytes.empty()) return;
    found->second.bytes[found->second.bytes.size() / 2] ^= 0x10;
  }

 private:
  absl::Status before_write() const
  {
    if (faults_.full) return absl::ResourceExhaustedError("the memory store is full");
    if (faults_.unavailable) return absl::UnavailableError("the memory store does not answer");
    return absl::OkStatus();
  }
  absl::StatusOr<Term> after_write(Term term) const
  {
    if (faults_.unacknowledged)
      return absl::UnavailableError("the memory store lost the acknowledgement");
    return term;
  }

  std::mutex mutex_;
  Term term_;
  std::map<std::string, Record> records_;
  MemoryFaults faults_;
};

namespace {

class MemoryStore final : public Store
{
 public:
  explicit MemoryStore(std::shared_ptr<MemoryDisk> disk) : disk_(std::move(disk)) {}
  absl::StatusOr<Term> begin_term() override { return disk_->begin_term(); }
  absl::Status write(Term term, const std::string& job, absl::string_view record) override
  {
    return disk_->replace(term, job, std::string(record));
  }
  absl::Status erase(Term term, const std::string& job) override
  {
    return disk_->replace(term, job, std::nullopt);
  }
  absl::StatusOr<std::optional<std::string>> load(const std::string& job) override
  {
    return disk_->load(job);
  }
  absl::StatusOr<std::vector<std::string>> list_jobs() override { return disk_->list_jobs(); }
  std::string description() const override { return "memory"; }

 private:
  // Shared with the handles of other coordinators over the same storage.
  std::shared_ptr<MemoryDisk> disk_;
};

}  // namespace

std::shared_ptr<MemoryDisk> make_memory_disk()
{
  return std::make_shared<MemoryDisk>();
}
std::unique_ptr<Store> open_memory_store(std::shared_ptr<MemoryDisk> disk)
{
  return std::make_unique<MemoryStore>(std::move(disk));
}
void set_faults(MemoryDisk& disk, MemoryFaults faults)
{
  disk.set_faults(faults);
}
void corrupt(MemoryDisk& disk, const std::string& job)
{
  disk.corrupt(job);
}

}  // namespace spillway::coordinator
