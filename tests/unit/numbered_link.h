// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "spillway/coordinator/link.h"

namespace spillway::testing {

// Gives each worker of this process a pid of its own, by which the agent tells them apart.
class NumberedLink final : public coordinator::ControlLink
{
 public:
  NumberedLink(std::unique_ptr<coordinator::ControlLink> link, std::int64_t pid)
      : link_(std::move(link)), pid_(pid)
  {
  }
  void start(coordinator::LinkCallbacks callbacks) override { link_->start(std::move(callbacks)); }
  absl::StatusOr<coordinator::Welcome> register_worker(const coordinator::WorkerHello& hello,
                                                       MonotonicTime deadline) override
  {
    coordinator::WorkerHello numbered = hello;
    numbered.pid = pid_;
    return link_->register_worker(numbered, deadline);
  }
  void send(const MemberStatus& status, MemberListPtr members) override
  {
    link_->send(status, std::move(members));
  }
  void send(const ProgressReport& report) override { link_->send(report); }
  void send(const ProbeResult& result) override { link_->send(result); }
  void send(const coordinator::Telemetry& telemetry) override { link_->send(telemetry); }

 private:
  std::unique_ptr<coordinator::ControlLink> link_;
  const std::int64_t pid_;
};

}  // namespace spillway::testing
