// SPDX-License-Identifier: Apache-2.0
#include "recording_agent.h"

namespace spillway::coordinator {

RecordingAgent::RecordingAgent(JobRunner& runner) : runner_(runner)
{
  stream_ = runner.connect({.send =
                                [inbox = inbox_](const NodeOrder& order) {
                                  const std::lock_guard lock(inbox->mutex);
                                  if (!inbox->reads) return false;
                                  inbox->orders.push_back(order);
                                  inbox->changed.notify_all();
                                  return true;
                                },
                            .close =
                                [inbox = inbox_](const absl::Status& why) {
                                  const std::lock_guard lock(inbox->mutex);
                                  inbox->closed = why;
                                  inbox->changed.notify_all();
                                }});
}

bool RecordingAgent::enter(const NodeHello& hello)
{
  if (!say(hello)) return false;
  const auto welcome = wait_for<NodeWelcome>();
  if (welcome) welcome_ = *welcome;
  return welcome.has_value();
}

void RecordingAgent::stop_reading()
{
  const std::lock_guard lock(inbox_->mutex);
  inbox_->reads = false;
}

std::optional<absl::Status> RecordingAgent::wait_for_close()
{
  std::unique_lock lock(inbox_->mutex);
  inbox_->changed.wait_for(lock, kSoon, [&] { return inbox_->closed.has_value(); });
  return inbox_->closed;
}

}  // namespace spillway::coordinator
