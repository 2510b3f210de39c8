// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/agent_client.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "rpc/client_stream.h"
#include "rpc/node_wire.h"
#include "rpc/services.grpc.pb.h"
#include "spillway/base/log.h"
#include "spillway/base/rng.h"
#include "spillway/base/status.h"

namespace spillway::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMessagesMax = 16384;
constexpr milliseconds kPollMax{500};
constexpr milliseconds kGiveUpInterval{50};
constexpr std::chrono::seconds kFlushBound{2};

using Stream = ClientStream<wire::NodeMessage, wire::NodeOrder>;

class Client final : public AgentClient
{
 public:
  Client(const AgentClientOptions& options, Address address, NodeSession& session,
         const Clock& clock)
      : options_(options),
        address_(std::move(address)),
        session_(session),
        clock_(clock),
        rng_(options.jitter_seed != 0 ? options.jitter_seed : secure_random_u64())
  {
    thread_ = std::thread([this] { run(); });
  }

  // What waits (a farewell) is still written, as far as the coordinator takes it in time.
  ~Client() override
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    if (stream_ != nullptr) welcome_ ? stream_->close_sending() : stream_->cancel();
    const bool ended = changed_.wait_for(lock, kFlushBound, [this] { return !running_; });
    if (!ended && stream_ != nullptr) stream_->cancel();
    lock.unlock();
    thread_.join();
  }

  absl::Status wait_for_answer()
  {
    const MonotonicTime began = clock_.now();
    const MonotonicTime deadline = deadline_after(began, options_.connect_timeout);
    std::unique_lock lock(mutex_);
    const auto answered = [this] { return welcome_ || !refusal_.ok() || !running_; };
    while (!changed_.wait_for(lock, kGiveUpInterval, answered) && clock_.now() < deadline)
    {
      lock.unlock();
      const bool give_up = options_.give_up && options_.give_up();
      lock.lock();
      if (give_up) return absl::CancelledError("stopped while waiting for the coordinator");
    }
    if (welcome_) return absl::OkStatus();
    if (!refusal_.ok()) return refusal_;
    const std::string tried =
        absl::StrCat("coordinator at ", options_.address, ": tried ", attempts_, " times in ",
                     std::chrono::ceil<std::chrono::seconds>(clock_.now() - began).count(), " s; ");
    if (stream_ != nullptr && last_.ok())
      return absl::DeadlineExceededError(absl::StrCat(
          tried, "it takes the connection but does not answer; is it a Spillway coordinator?"));
    return absl::UnavailableError(absl::StrCat(tried, "last error: ", last_.message()));
  }

 private:
  void run()
  {
    Duration pause = options_.backoff_min;
    while (!over())
    {
      heard_any_ = false;
      const absl::Status why = attend();
      if (heard_any_) pause = options_.backoff_min;
      std::unique_lock lock(mutex_);
      last_ = why;
      // Between half and all of it, so that many agents do not come back at once.
      const Duration jittered =
          pause / 2 + Duration(rng_.below(static_cast<std::uint64_t>(pause.count() / 2 + 1)));
      changed_.wait_for(lock, jittered, [this] { return stopping_; });
      pause = std::min(pause * 2, options_.backoff_max);
    }
    const std::lock_guard lock(mutex_);
    running_ = false;
    changed_.notify_all();
  }

  bool over()
  {
    if (session_.finished()) return true;
    const std::lock_guard lock(mutex_);
    return stopping_ || !refusal_.ok();
  }

  // One stream, from connection to its end.
  absl::Status attend()
  {
    const auto stub = wire::Coordinator::NewStub(open_channel(address_));
    Stream stream(kMessagesMax);
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return absl::CancelledError("the agent ends");
      ++attempts_;
      stream_ = &stream;
    }
    session_.uplink_opened([&stream](const NodeMessage& message) {
      wire::NodeMessage out;
      to_wire(message, &out);
      return stream.send(std::move(out));
    });
    stream.open(
        [&](auto* context, auto* queue) { return stub->PrepareAsyncAttend(context, queue); });
    const bool silent = !attend_until_silence(stream);
    {
      const std::lock_guard lock(mutex_);
      stream_ = nullptr;
    }
    // The session must not send into a stream that is gone.
    if (silent)
    {
      const absl::Status why = absl::UnavailableError(
          absl::StrCat("the coordinator at ", options_.address, " was silent for ",
                       options_.silence_max / milliseconds(1), " ms"));
      session_.uplink_closed(why);
      return why;
    }
    const absl::Status why = to_absl(stream.status());
    session_.uplink_closed(why);
    return why.ok() ? absl::UnavailableError("the coordinator ended the stream") : why;
  }

  // False if it was left because nothing came for too long.
  bool attend_until_silence(Stream& stream)
  {
    MonotonicTime heard_at = clock_.now();
    MonotonicTime beat_at = heard_at + heartbeat_;
    const auto hear = [&](const wire::NodeOrder& order) {
      heard_at = clock_.now();
      on_order(order, heard_at, stream);
    };
    for (;;)
    {
      const MonotonicTime now = clock_.now();
      if (now >= beat_at)
      {
        session_.send_heartbeat(now);
        beat_at = now + heartbeat_;
      }
      if (now - heard_at > options_.silence_max) return false;
      const Duration wait = std::min<Duration>(kPollMax, std::max(beat_at - now, Duration(1)));
      if (!stream.poll(wait, hear)) return true;
    }
  }

  void on_order(const wire::NodeOrder& in, MonotonicTime now, Stream& stream)
  {
    NodeOrder order;
    const absl::Status status = from_wire(in, &order);
    if (!status.ok())
    {
      log_warning("the coordinator at ", options_.address,
                  " is not understood: ", status.message());
      return stream.cancel();
    }
    heard_any_ = true;
    session_.on_order(order, now);
    const std::lock_guard lock(mutex_);
    if (const auto* welcome = std::get_if<NodeWelcome>(&order))
    {
      welcome_ = true;
      if (welcome->heartbeat > Duration::zero()) heartbeat_ = welcome->heartbeat;
    }
    else if (const auto* refusal = std::get_if<Refusal>(&order))
      refusal_ = refusal->status;
    else
      return;
    changed_.notify_all();
  }

  const AgentClientOptions options_;
  const Address address_;
  NodeSession& session_;
  const Clock& clock_;

  // Of the thread.
  Rng rng_;
  Duration heartbeat_ = std::chrono::seconds(1);
  bool heard_any_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  Stream* stream_ = nullptr;
  bool welcome_ = false;
  absl::Status refusal_;
  absl::Status last_;  // why the last attempt ended
  int attempts_ = 0;
  bool stopping_ = false;
  bool running_ = true;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AgentClient>> AgentClient::connect(const AgentClientOptions& options,
                                                                  NodeSession& session,
                                                                  const Clock& clock)
{
  SPILLWAY_ASSIGN_OR_RETURN(Address address, parse_address(options.address));
  auto client = std::make_unique<Client>(options, std::move(address), session, clock);
  SPILLWAY_RETURN_IF_ERROR(client->wait_for_answer());
  return client;
}

}  // namespace spillway::coordinator
