// SPDX-License-Identifier: Apache-2.0
// The thread around JobState: its inbox, its record in the store, its streams.
#include "spillway/coordinator/job_runner.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "service/job_state.h"
#include "spillway/base/fault_point.h"
#include "spillway/base/log.h"
#include "spillway/base/rng.h"
#include "spillway/base/status.h"

namespace spillway::coordinator {
namespace {

// Events that share one write of the record.
constexpr std::size_t kBatchMax = 256;
// Without a deadline the thread looks around this often; it is woken for everything else.
constexpr Duration kLongestWait = std::chrono::hours(1);
// A deadline that lies in the past although it was seen to is tried again after this.
constexpr Duration kShortestWait = std::chrono::milliseconds(1);
// A heartbeat is acknowledged within this part of the lease since the term was last confirmed; the
// coordinator's lease is longer than the members' by more.
constexpr int kLeadWindow = 20;
// How long an operator's word may take.
constexpr Duration kAnswerWithin = std::chrono::seconds(5);

struct Connected
{
  OrderSink sink;
};
struct Disconnected
{
};
// A call from outside, run on the runner's thread.
struct Asked
{
  std::function<void()> run;
  bool waits_for_store = false;
};
struct Input
{
  StreamId stream;
  std::variant<Connected, Disconnected, NodeMessage, Asked> what;
};

// The answer to a call, for whoever waits and for as long as it waits.
template <typename T>
class Answer
{
 public:
  void set(T value)
  {
    {
      const std::lock_guard lock(mutex_);
      value_ = std::move(value);
    }
    ready_.notify_all();
  }
  std::optional<T> wait(Duration timeout)
  {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, timeout, [&] { return value_.has_value(); });
    return value_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::optional<T> value_;
};

class Runner final : public JobRunner
{
 public:
  Runner(const std::string& job, const RunnerOptions& options, const Services& services,
         JobState state)
      : job_(job), options_(options), services_(services), state_(std::move(state))
  {
    thread_ = std::thread([this] { run(); });
  }
  ~Runner() override
  {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  StreamId connect(OrderSink sink) override;
  bool post(StreamId stream, NodeMessage message) override;
  void disconnect(StreamId stream) override;
  absl::StatusOr<JobReport> report(Duration timeout) override;
  absl::Status adopt(Lineage lineage) override
  {
    return ask([=, this](MonotonicTime now) { return state_.adopt(lineage, now); });
  }
  absl::Status abandon_worker(WorkerId worker, const std::string& reason) override
  {
    return ask([=, this](MonotonicTime now) { return state_.abandon_worker(worker, reason, now); });
  }
  absl::Status abandon_node(NodeId node, const std::string& reason) override
  {
    return ask([=, this](MonotonicTime now) { return state_.abandon_node(node, reason, now); });
  }
  absl::Status end(const std::string& reason) override
  {
    return ask([=, this](MonotonicTime now) { return state_.end(reason, now); });
  }

 private:
  absl::Status ask(std::function<absl::Status(MonotonicTime)> what);
  absl::Status push(Input input);
  void run();
  bool take_inbox();
  void take(Input input);
  void handle(Input input);
  void work();
  void acknowledge(Outgoing ack);
  void confirmed(MonotonicTime when);
  bool store_waits() const { return retry_at_ != kForever; }
  bool commit();
  void store_failed(const absl::Status& status);
  void depose(const absl::Status& status);
  void deliver();
  void deliver(const Outgoing& out);
  void close(StreamId stream, const absl::Status& why);
  void close_all(const absl::Status& why);
  Duration wait_time() const;
  MonotonicTime now() const { return services_.clock->now(); }

  const std::string job_;
  const RunnerOptions options_;
  const Services services_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Input> inbox_;
  std::size_t held_count_ = 0;  // mirrors held_ for post()
  std::unordered_set<StreamId, absl::Hash<StreamId>> streams_;
  StreamId last_stream_;
  bool stopping_ = false;
  absl::Status deposed_;

  // Of the thread alone.
  JobState state_;
  std::deque<Input> held_;  // behind the record
  std::vector<std::function<void()>> questions_;
  std::unordered_map<StreamId, OrderSink, absl::Hash<StreamId>> sinks_;
  MonotonicTime retry_at_ = kForever;
  Duration retry_after_{};
  std::string alarm_;
  std::optional<MonotonicTime> confirmed_at_;  // when this term was known to lead
  bool confirm_lead_ = false;
  std::unordered_map<StreamId, Outgoing, absl::Hash<StreamId>> unconfirmed_;  // newest of each
  std::thread thread_;
};

StreamId Runner::connect(OrderSink sink)
{
  StreamId stream;
  absl::Status refused;
  {
    const std::lock_guard lock(mutex_);
    stream = last_stream_ = last_stream_.next();
    refused = deposed_;
    if (refused.ok())
    {
      streams_.insert(stream);
      inbox_.push_back({stream, Connected{std::move(sink)}});
    }
  }
  if (refused.ok())
    wake_.notify_all();
  else if (sink.close)
    sink.close(refused);
  return stream;
}

bool Runner::post(StreamId stream, NodeMessage message)
{
  const bool heartbeat = std::holds_alternative<Heartbeat>(message);
  {
    const std::lock_guard lock(mutex_);
    if (!streams_.contains(stream)) return false;
    // Heartbeats are answered whatever is held, so they have room of their own.
    if (inbox_.size() + held_count_ >= (heartbeat ? 2 : 1) * options_.held_max) return false;
    inbox_.push_back({stream, std::move(message)});
  }
  wake_.notify_all();
  return true;
}

void Runner::disconnect(StreamId stream)
{
  {
    const std::lock_guard lock(mutex_);
    if (streams_.erase(stream) == 0) return;
    inbox_.push_back({stream, Disconnected{}});
  }
  wake_.notify_all();
}

absl::Status Runner::push(Input input)
{
  {
    const std::lock_guard lock(mutex_);
    if (!deposed_.ok()) return deposed_;
    if (inbox_.size() + held_count_ >= options_.held_max)
      return absl::ResourceExhaustedError(
          absl::StrCat("job ", job_, ": too much waits for the store; try again later"));
    inbox_.push_back(std::move(input));
  }
  wake_.notify_all();
  return absl::OkStatus();
}

absl::StatusOr<JobReport> Runner::report(Duration timeout)
{
  const auto answer = std::make_shared<Answer<JobReport>>();
  SPILLWAY_RETURN_IF_ERROR(push({StreamId(), Asked{[this, answer] {
                                   JobReport report = state_.report(now());
                                   report.alarm = alarm_;
                                   answer->set(std::move(report));
                                 }}}));
  std::optional<JobReport> report = answer->wait(timeout);
  if (!report)
    return absl::DeadlineExceededError(
        absl::StrCat("job ", job_, ": its coordinator did not get to the question in time"));
  return *std::move(report);
}

absl::Status Runner::ask(std::function<absl::Status(MonotonicTime)> what)
{
  const auto answer = std::make_shared<Answer<absl::Status>>();
  SPILLWAY_RETURN_IF_ERROR(
      push({StreamId(),
            Asked{[this, answer, what = std::move(what)] { answer->set(what(now())); }, true}}));
  const std::optional<absl::Status> status = answer->wait(kAnswerWithin);
  if (!status)
    return absl::DeadlineExceededError(
        absl::StrCat("job ", job_,
                     ": not done yet, it waits for the store; see the alarm of `spillway status`"));
  return *status;
}

void Runner::run()
{
  while (take_inbox())
  {
    if (deposed_.ok()) work();
    // After what was said before them, if the store lets it be heard.
    for (const auto& question : std::exchange(questions_, {})) question();
  }
  close_all(absl::UnavailableError(absl::StrCat("job ", job_, ": its coordinator ends")));
}

// Waits for something to do. False: the runner is being destroyed.
bool Runner::take_inbox()
{
  std::deque<Input> inputs;
  const Duration most = wait_time();
  {
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, most, [&] { return stopping_ || !inbox_.empty(); });
    if (stopping_) return false;
    inputs.swap(inbox_);
    held_count_ = held_.size() + inputs.size();
  }
  for (Input& input : inputs) take(std::move(input));
  return true;
}

Duration Runner::wait_time() const
{
  if (!deposed_.ok()) return kLongestWait;
  if (!store_waits() && !held_.empty()) return Duration::zero();
  const MonotonicTime due = store_waits() ? retry_at_ : state_.next_deadline();
  if (due == kForever) return kLongestWait;
  return std::clamp(due - now(), kShortestWait, kLongestWait);
}

// What does not depend on the record is done at once, all else in order.
void Runner::take(Input input)
{
  if (auto* asked = std::get_if<Asked>(&input.what); asked && !asked->waits_for_store)
  {
    questions_.push_back(std::move(asked->run));
    return;
  }
  if (auto* connected = std::get_if<Connected>(&input.what))
  {
    sinks_[input.stream] = std::move(connected->sink);
    return;
  }
  if (const auto* message = std::get_if<NodeMessage>(&input.what))
    if (const auto* beat = std::get_if<Heartbeat>(message))
    {
      if (auto ack = state_.on_heartbeat(input.stream, *beat, now())) acknowledge(*std::move(ack));
      return;
    }
  if (std::holds_alternative<Disconnected>(input.what))
  {
    sinks_.erase(input.stream);
    unconfirmed_.erase(input.stream);
  }
  held_.push_back(std::move(input));
}

// A member trains on as long as its heartbeats are acknowledged, and another leader counts its
// silence from when it took over. So only who has led a moment ago may acknowledge (P4, P18). A
// store without room has still checked the term.
void Runner::acknowledge(Outgoing ack)
{
  const Duration window = state_.lease() / kLeadWindow;
  const Duration age = confirmed_at_ ? now() - *confirmed_at_ : Duration::max();
  if (age > window / 2) confirm_lead_ = true;
  if (age <= window) return deliver(ack);
  const StreamId stream = ack.stream;
  unconfirmed_.insert_or_assign(stream, std::move(ack));
}

void Runner::confirmed(MonotonicTime when)
{
  confirmed_at_ = when;
  confirm_lead_ = false;
  for (const auto& [stream, ack] : std::exchange(unconfirmed_, {})) deliver(ack);
}

void Runner::work()
{
  if (store_waits() && (now() < retry_at_ || !commit())) return;
  // Time is looked at only when all that was said before is heard: nobody is judged silent whose
  // words wait here.
  while (!held_.empty())
  {
    for (std::size_t n = 0; n < kBatchMax && !held_.empty(); ++n)
    {
      Input input = std::move(held_.front());
      held_.pop_front();
      handle(std::move(input));
    }
    if (!commit()) return;
  }
  if (now() >= state_.next_deadline()) state_.on_time(now());
  commit();
}

void Runner::handle(Input input)
{
  if (auto* message = std::get_if<NodeMessage>(&input.what))
    state_.on_message(input.stream, std::move(*message), now());
  else if (std::holds_alternative<Disconnected>(input.what))
    state_.on_disconnect(input.stream, now());
  else if (const auto* asked = std::get_if<Asked>(&input.what))
    asked->run();
}

// Makes what happened durable, then tells of it. False: later.
bool Runner::commit()
{
  const bool changes = state_.has_unstored();
  if (changes || confirm_lead_)
  {
    if (changes) fault_point("coordinator.write");
    const MonotonicTime before = now();
    const absl::Status status = services_.store->write(services_.term, job_, state_.encode());
    if (status.ok() || absl::IsResourceExhausted(status)) confirmed(before);
    if (!status.ok())
    {
      store_failed(status);
      return false;
    }
    if (changes) fault_point("coordinator.written");
    state_.stored();
    if (store_waits()) log_info("job ", job_, ": the store takes the record again");
    retry_at_ = kForever;
    retry_after_ = {};
    alarm_.clear();
  }
  deliver();
  if (changes) fault_point("coordinator.announced");
  return true;
}

void Runner::store_failed(const absl::Status& status)
{
  if (absl::IsFailedPrecondition(status)) return depose(status);
  retry_after_ = std::clamp(2 * retry_after_, options_.store_retry_min, options_.store_retry_max);
  retry_at_ = deadline_after(now(), retry_after_);
  if (alarm_.empty())
    log_error("job ", job_, ": the store ", services_.store->description(),
              " does not take the record, so nothing about membership is decided; training goes on "
              "within the lease; make room or mend the store: ",
              status.message());
  alarm_ = absl::StrCat("the store ", services_.store->description(),
                        " does not take the record: ", status.message());
}

// P18: another leader has taken over; nothing from here may be believed any more.
void Runner::depose(const absl::Status& status)
{
  log_error("job ", job_, ": ", status.message());
  const absl::Status why = absl::UnavailableError(
      absl::StrCat("job ", job_, ": another coordinator has taken over; connect again"));
  {
    const std::lock_guard lock(mutex_);
    deposed_ = why;
    streams_.clear();
  }
  state_.take_outgoing();
  held_.clear();
  close_all(why);
  if (services_.on_deposed) services_.on_deposed(status);
}

void Runner::deliver()
{
  for (const Outgoing& out : state_.take_outgoing()) deliver(out);
}

void Runner::deliver(const Outgoing& out)
{
  const auto at = sinks_.find(out.stream);
  if (at == sinks_.end()) return;
  if (const auto* why = std::get_if<absl::Status>(&out.what)) return close(out.stream, *why);
  if (!at->second.send(std::get<NodeOrder>(out.what)))
    close(out.stream,
          absl::ResourceExhaustedError(absl::StrCat(
              "job ", job_, ": this stream does not take what it is told; connect again")));
}

void Runner::close(StreamId stream, const absl::Status& why)
{
  const auto at = sinks_.find(stream);
  if (at == sinks_.end()) return;
  const OrderSink sink = std::move(at->second);
  sinks_.erase(at);
  disconnect(stream);
  if (sink.close) sink.close(why);
}

void Runner::close_all(const absl::Status& why)
{
  while (!sinks_.empty()) close(sinks_.begin()->first, why);
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobRunner>> JobRunner::open(const std::string& job,
                                                           const RunnerOptions& options,
                                                           const Services& services)
{
  SPILLWAY_ASSIGN_OR_RETURN(const std::optional<std::string> bytes, services.store->load(job));
  StoredJob stored;
  if (bytes)
  {
    SPILLWAY_ASSIGN_OR_RETURN(stored, decode_job(job, as_bytes(*bytes)));
  }
  const Lineage lineage(std::max<std::uint64_t>(1, secure_random_u64()));
  JobState state(job, options, services.term, std::move(stored), lineage, services.clock->now());
  return std::make_unique<Runner>(job, options, services, std::move(state));
}

}  // namespace spillway::coordinator
