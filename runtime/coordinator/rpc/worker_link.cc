// SPDX-License-Identifier: Apache-2.0
#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "rpc/client_stream.h"
#include "rpc/node_wire.h"
#include "rpc/services.grpc.pb.h"
#include "spillway/base/status.h"
#include "spillway/coordinator/link.h"
#include "spillway/coordinator/node_messages.h"

namespace spillway::coordinator {
namespace {

constexpr std::size_t kMessagesMax = 1024;
constexpr int kStatusKey = 1;
constexpr int kTelemetryKey = 2;
constexpr std::chrono::milliseconds kPollInterval{500};
// The agent is this process's parent: if its socket stays dead for this long it is gone.
constexpr std::chrono::milliseconds kRetryInterval{50};
constexpr int kRetriesMax = 20;
// At the end what waits (a last status) is still written, for at most this long.
constexpr std::chrono::seconds kFlushBound{1};

using Stream = ClientStream<wire::WorkerMessage, wire::WorkerOrder>;

// A status that was not sent yet may carry the members that the next one leaves out.
void keep_members(wire::WorkerMessage& older, wire::WorkerMessage& newer)
{
  if (!older.has_status() || !newer.has_status() || newer.status().has_members()) return;
  if (!older.status().has_members()) return;
  newer.mutable_status()->set_has_members(true);
  newer.mutable_status()->mutable_members()->Swap(older.mutable_status()->mutable_members());
}

class WorkerLink final : public ControlLink
{
 public:
  WorkerLink(std::string path, const Clock& clock) : path_(std::move(path)), clock_(clock) {}
  ~WorkerLink() override
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    if (stream_) stream_->close_sending();
    const bool ended = changed_.wait_for(lock, kFlushBound, [this] { return !running_; });
    if (!ended && stream_) stream_->cancel();
    lock.unlock();
    if (thread_.joinable()) thread_.join();
  }

  void start(LinkCallbacks callbacks) override { callbacks_ = std::move(callbacks); }

  absl::StatusOr<Welcome> register_worker(const WorkerHello& hello, MonotonicTime deadline) override
  {
    std::unique_lock lock(mutex_);
    if (!thread_.joinable())
    {
      hello_ = hello;
      SPILLWAY_ASSIGN_OR_RETURN(address_, parse_address(absl::StrCat("unix:", path_)));
      running_ = true;
      thread_ = std::thread([this] { run(); });
    }
    while (!welcome_ && failure_.ok())
    {
      const MonotonicTime now = clock_.now();
      if (now >= deadline)
        return absl::DeadlineExceededError(
            absl::StrCat("job ", hello.job, ": no answer through the agent at ", path_,
                         "; its coordinator may be away (spillway status shows it)"));
      // Bounded, so that a clock that is set by a test is looked at again.
      changed_.wait_for(lock, std::min<Duration>(deadline - now, kPollInterval));
    }
    if (!failure_.ok()) return failure_;
    return *welcome_;
  }

  void send(const MemberStatus& status, MemberListPtr members) override
  {
    wire::WorkerMessage message;
    to_wire(status, message.mutable_status()->mutable_status());
    message.mutable_status()->set_has_members(members != nullptr);
    if (members) list_to_wire(members->members(), message.mutable_status()->mutable_members());
    const std::lock_guard lock(mutex_);
    hello_.status = status;
    if (members) hello_.members = members->members();
    if (stream_) stream_->send(std::move(message), kStatusKey);
  }
  void send(const ProgressReport& report) override { pass(report); }
  void send(const ProbeResult& result) override { pass(result); }
  void send(const Telemetry& telemetry) override { pass(telemetry, kTelemetryKey); }

 private:
  void pass(const WorkerMessage& message, int key = 0)
  {
    wire::WorkerMessage out;
    to_wire(message, &out);
    const std::lock_guard lock(mutex_);
    if (stream_) stream_->send(std::move(out), key);
  }

  void run()
  {
    int failures = 0;
    absl::Status why;
    while (failures < kRetriesMax)
    {
      heard_ = false;
      why = serve_once();
      failures = heard_ ? 1 : failures + 1;
      std::unique_lock lock(mutex_);
      if (stopping_ || !failure_.ok()) break;
      changed_.wait_for(lock, kRetryInterval, [this] { return stopping_; });
      if (stopping_) break;
    }
    std::unique_lock lock(mutex_);
    const bool lost = !stopping_ && failure_.ok();
    const bool was_welcome = welcome_.has_value();
    const std::string text =
        absl::StrCat("the agent at ", path_, " cannot be reached (", why.message(), ")");
    if (lost) failure_ = was_welcome ? absl::AbortedError(text) : absl::UnavailableError(text);
    running_ = false;
    changed_.notify_all();
    const absl::Status failure = failure_;
    lock.unlock();
    if (lost && was_welcome && callbacks_.on_connection) callbacks_.on_connection(false, failure);
  }

  // One stream, from connection to its end.
  absl::Status serve_once()
  {
    const std::unique_ptr<wire::Agent::Stub> stub = wire::Agent::NewStub(open_channel(address_));
    Stream stream(kMessagesMax, keep_members);
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return absl::OkStatus();
      wire::WorkerMessage hello;
      to_wire(hello_, hello.mutable_hello());
      stream.send(std::move(hello));
      stream_ = &stream;
    }
    stream.open(
        [&](auto* context, auto* queue) { return stub->PrepareAsyncServe(context, queue); });
    const auto hear = [this](const wire::WorkerOrder& order) { on_order(order); };
    while (stream.poll(kPollInterval, hear))
    {
    }
    const std::lock_guard lock(mutex_);
    stream_ = nullptr;
    return to_absl(stream.status());
  }

  void on_order(const wire::WorkerOrder& in)
  {
    heard_ = true;
    WorkerOrder order;
    const absl::Status status = from_wire(in, &order);
    if (!status.ok()) return fail(annotate(status, "the agent is not understood"));
    if (const auto* welcome = std::get_if<Welcome>(&order)) return on_welcome(*welcome);
    if (const auto* refusal = std::get_if<Refusal>(&order)) return fail(refusal->status);
    if (const auto* message = std::get_if<ControlMessage>(&order))
    {
      if (callbacks_.on_message) callbacks_.on_message(*message);
    }
    else if (const auto* acknowledged = std::get_if<Acknowledged>(&order))
    {
      if (callbacks_.on_acknowledged) callbacks_.on_acknowledged(acknowledged->sent_at);
    }
    else if (const auto* state = std::get_if<LinkState>(&order))
    {
      if (callbacks_.on_connection) callbacks_.on_connection(state->up, state->why);
    }
    else if (callbacks_.on_leave_request)
      callbacks_.on_leave_request(std::get<LeaveRequest>(order).urgent);
  }

  void on_welcome(const Welcome& welcome)
  {
    const std::lock_guard lock(mutex_);
    hello_.worker = welcome.worker;
    hello_.node = welcome.node;
    hello_.site = welcome.site;
    hello_.lineage = welcome.lineage;
    welcome_ = welcome;
    changed_.notify_all();
  }

  // For good: this process has no part in the job any more.
  void fail(const absl::Status& status)
  {
    std::unique_lock lock(mutex_);
    failure_ = status;
    const bool was_welcome = welcome_.has_value();
    changed_.notify_all();
    stream_->close_sending();
    lock.unlock();
    if (was_welcome && callbacks_.on_connection) callbacks_.on_connection(false, status);
  }

  const std::string path_;
  const Clock& clock_;
  LinkCallbacks callbacks_;
  bool heard_ = false;  // of the thread

  std::mutex mutex_;
  std::condition_variable changed_;
  Address address_;
  WorkerHello hello_;  // what the next connection begins with
  Stream* stream_ = nullptr;
  std::optional<Welcome> welcome_;
  absl::Status failure_;
  bool stopping_ = false;
  bool running_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<ControlLink> make_worker_link(const std::string& socket_path, const Clock& clock)
{
  return std::make_unique<WorkerLink>(socket_path, clock);
}

}  // namespace spillway::coordinator
