// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>

#include "spillway/coordinator/store.h"

namespace spillway::coordinator {

// Passes on to another store; from a chosen write on it fails, with that write lost or done. As if
// the process died there: what follows the write never happens.
class DyingStore final : public Store
{
 public:
  DyingStore(std::unique_ptr<Store> store, int dies_at, bool write_is_done)
      : store_(std::move(store)), dies_at_(dies_at), write_is_done_(write_is_done)
  {
  }
  absl::StatusOr<Term> begin_term() override { return store_->begin_term(); }
  absl::Status write(Term term, const std::string& job, absl::string_view record) override
  {
    const int n = ++writes_;
    if (n < dies_at_) return store_->write(term, job, record);
    if (n == dies_at_ && write_is_done_)
      if (absl::Status status = store_->write(term, job, record); !status.ok()) return status;
    return absl::UnavailableError("the store has died");
  }
  absl::Status erase(Term term, const std::string& job) override
  {
    return store_->erase(term, job);
  }
  absl::StatusOr<std::optional<std::string>> load(const std::string& job) override
  {
    return store_->load(job);
  }
  absl::StatusOr<std::vector<std::string>> list_jobs() override { return store_->list_jobs(); }
  std::string description() const override { return "dying " + store_->description(); }
  bool dead() const { return writes_ >= dies_at_; }
  int writes() const { return writes_; }

 private:
  const std::unique_ptr<Store> store_;
  const int dies_at_;
  const bool write_is_done_;
  std::atomic<int> writes_{0};
};

}  // namespace spillway::coordinator
