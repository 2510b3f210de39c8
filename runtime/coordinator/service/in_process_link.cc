// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/in_process_link.h"

#include <condition_variable>
#include <mutex>
#include <thread>

#include "service/in_process_worker.h"
#include "spillway/base/rng.h"

namespace spillway::coordinator {
namespace {

constexpr Duration kHeartbeat = std::chrono::seconds(1);

// One connection between a session and a runner. Orders reach the session on the runner's thread:
// it only queues. After close() neither side hears the other.
class InProcessStream : public std::enable_shared_from_this<InProcessStream>
{
 public:
  InProcessStream(NodeSession& session, const Clock& clock) : session_(session), clock_(clock) {}

  void open(JobRunner& runner)
  {
    runner_ = &runner;
    stream_ =
        runner.connect({.send =
                            [self = shared_from_this()](const NodeOrder& order) {
                              const std::lock_guard lock(self->mutex_);
                              if (self->closed_) return false;
                              self->session_.on_order(order, self->clock_.now());
                              return true;
                            },
                        .close = [self = shared_from_this()](
                                     const absl::Status& why) { self->closed_by_runner(why); }});
    session_.uplink_opened([runner = runner_, stream = stream_](const NodeMessage& message) {
      return runner->post(stream, message);
    });
  }

  // From the node's side. The runner may be gone if it has closed the stream before.
  void close()
  {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(closed_, true)) return;
    }
    session_.uplink_closed(absl::UnavailableError("the connection was broken"));
    runner_->disconnect(stream_);
  }

 private:
  void closed_by_runner(const absl::Status& why)
  {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(closed_, true)) return;
    }
    session_.uplink_closed(why);
  }

  NodeSession& session_;
  const Clock& clock_;
  JobRunner* runner_ = nullptr;
  StreamId stream_;
  std::mutex mutex_;
  bool closed_ = false;
};

class Node final : public InProcessNode
{
 public:
  Node(NodeHello hello, const Clock& clock, NodeCallbacks callbacks)
      : clock_(clock), session_(std::move(hello), std::move(callbacks))
  {
    thread_ = std::thread([this] { beat(); });
  }
  ~Node() override
  {
    disconnect();
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  std::unique_ptr<ControlLink> make_link() override
  {
    return std::make_unique<InProcessLink>(session_, clock_);
  }
  NodeSession& session() override { return session_; }
  void disconnect() override
  {
    if (auto stream = exchange_stream(nullptr)) stream->close();
  }
  void reconnect(JobRunner& runner) override
  {
    disconnect();
    auto stream = std::make_shared<InProcessStream>(session_, clock_);
    exchange_stream(stream);
    stream->open(runner);
  }

 private:
  std::shared_ptr<InProcessStream> exchange_stream(std::shared_ptr<InProcessStream> stream)
  {
    const std::lock_guard lock(mutex_);
    return std::exchange(stream_, std::move(stream));
  }
  void beat()
  {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kHeartbeat, [&] { return stopping_; }))
    {
      lock.unlock();
      session_.send_heartbeat(clock_.now());
      lock.lock();
    }
  }

  const Clock& clock_;
  NodeSession session_;
  std::shared_ptr<InProcessStream> stream_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<InProcessNode> InProcessNode::connect(JobRunner& runner, NodeHello hello,
                                                      const Clock& clock, NodeCallbacks callbacks)
{
  while (hello.session == 0) hello.session = secure_random_u64();
  auto node = std::make_unique<Node>(std::move(hello), clock, std::move(callbacks));
  node->reconnect(runner);
  return node;
}

}  // namespace spillway::coordinator
