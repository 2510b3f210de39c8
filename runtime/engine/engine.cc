// SPDX-License-Identifier: Apache-2.0
#include "spillway/engine/engine.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine_impl.h"
#include "spillway/base/check.h"
#include "spillway/base/fault_point.h"
#include "spillway/base/hash.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::engine {
namespace {

// The unit of copying: large enough for its connection not to count, small enough to spread over
// donors and to keep through an abort.
constexpr std::uint64_t kRangeBytes = 4 << 20;
constexpr Duration kRegisterTimeout = std::chrono::seconds(60);

absl::Status check_options(const EngineOptions& options, const StateTable& table,
                           const std::vector<BucketSpec>& buckets, const EngineServices& services)
{
  if (services.link == nullptr || services.clock == nullptr || !services.make_transport)
    return absl::InvalidArgumentError("the engine needs a link, a clock and a transport");
  for (std::size_t i = 0; i < buckets.size(); ++i)
    if (buckets[i].count == 0)
      return absl::InvalidArgumentError(absl::StrCat("bucket ", i, " is empty"));
  if (options.lease <= Duration::zero() || options.prepare_timeout <= Duration::zero())
    return absl::InvalidArgumentError("lease and prepare_timeout must be above zero");
  if (table.entries().empty() && !buckets.empty())
    return absl::InvalidArgumentError("buckets are reduced, but no state is registered");
  return absl::OkStatus();
}

std::size_t range_count(std::uint64_t bytes)
{
  return std::max<std::size_t>(1, (bytes + kRangeBytes - 1) / kRangeBytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::start(EngineOptions options, StateTable table,
                                                      std::vector<BucketSpec> buckets,
                                                      ReplicaCallbacks& replica,
                                                      EngineServices services)
{
  SPILLWAY_RETURN_IF_ERROR(check_options(options, table, buckets, services));
  SPILLWAY_ASSIGN_OR_RETURN(DataPlan data, DataPlan::create(options.data));
  auto engine =
      std::make_unique<EngineImpl>(std::move(options), std::move(table), std::move(buckets),
                                   replica, std::move(services), std::move(data));
  SPILLWAY_RETURN_IF_ERROR(engine->start());
  return engine;
}

EngineImpl::EngineImpl(EngineOptions options, StateTable table, std::vector<BucketSpec> buckets,
                       ReplicaCallbacks& replica, EngineServices services, DataPlan data)
    : options_(std::move(options)),
      table_(std::move(table)),
      buckets_(std::move(buckets)),
      replica_(replica),
      services_(std::move(services)),
      clock_(*services_.clock),
      data_(std::move(data)),
      totals_codec_(options_.parameter_count),
      log_(options_.event_log_directory, clock_),
      driver_(clock_),
      served_(table_),
      gate_(std::make_shared<CallbackGate>())
{
}

absl::Status EngineImpl::start()
{
  comm::TransportOptions transport;
  transport.host = services_.host;
  transport.clock = &clock_;
  transport.events.on_peer_lost = [gate = gate_](Number number, WorkerId peer) {
    gate->pass([&](EngineImpl& engine) { engine.peer_lost(number, peer, "its connection broke"); });
  };
  transport.events.on_peer_closed = [gate = gate_](Number number, WorkerId peer) {
    gate->pass([&](EngineImpl& engine) {
      engine.links_->peer_gone(number, peer);
      engine.pulse_->nudge();
    });
  };
  transport.state_handler = [this](StateName name, std::uint64_t offset, MutableByteSpan into) {
    fault("serve.state", name.step);
    const absl::Status status = served_.read(name, offset, into);
    const std::lock_guard lock(stats_mutex_);
    if (status.ok()) stats_.state_bytes_served += into.size();
    return status;
  };
  SPILLWAY_ASSIGN_OR_RETURN(transport_, services_.make_transport(std::move(transport)));

  gate_->engine = this;
  services_.link->start(link_callbacks());
  const MonotonicTime greeted_at = clock_.now();
  SPILLWAY_ASSIGN_OR_RETURN(
      const coordinator::Welcome welcome,
      services_.link->register_worker(hello(), deadline_after(clock_.now(), kRegisterTimeout)));
  self_ = welcome.worker;
  lineage_ = welcome.lineage;
  lease_ = std::min(options_.lease, welcome.lease);
  registered_at_ = clock_.now();
  set_log_context(absl::StrCat(options_.job_id, " worker ", self_.value()));
  log_.open(self_, options_.data);
  links_ = std::make_unique<Links>(link_context());
  links_->set_lineage(lineage_);
  copier_ = make_copier();
  pipeline_ = std::make_unique<BucketPipeline>(buckets_, [this](const BucketPipeline::Step& step) {
    return calls_.gate(*step.links, step.name.step, step.holds);
  });
  pulse_ = std::make_unique<Pulse>(pulse_config());
  fault("join.registered");
  driver_.start({.self = self_,
                 .lineage = lineage_,
                 .range_count = range_count(served_.size_bytes()),
                 .last_step = options_.last_step.value_or(StepId())},
                [this](const MemberAction& action) { return execute(action); });
  // The welcome answers the greeting as an acknowledged heartbeat would.
  driver_.feed(LeaseExtended{deadline_after(greeted_at, lease_)});
  driver_.feed(ConnectionUp{});
  return absl::OkStatus();
}

EngineImpl::~EngineImpl()
{
  {
    const std::lock_guard lock(gate_->mutex);
    gate_->engine = nullptr;
  }
  driver_.close();
  // Leaving without having been released is a fault to the others, and must look like one.
  if (end_ == EndReason::kNotEnded && transport_) transport_->break_links_for_test();
  if (copier_) copier_->stop();
  pipeline_.reset();
  pulse_.reset();
  copier_.reset();
  step_.links.reset();
  links_.reset();
  transport_.reset();
}

coordinator::WorkerHello EngineImpl::hello() const
{
  coordinator::WorkerHello hello;
  hello.job = options_.job_id;
  hello.pid = getpid();
  hello.host = services_.host;
  hello.peer_address = transport_->address();
  for (const StateEntry& entry : table_.entries())
    hello.spec.tensors.push_back({.name = entry.name, .type = entry.dtype, .shape = entry.shape});
  hello.spec.terms = terms();
  hello.spec.hash = table_.layout_hash();
  for (const std::string& term : hello.spec.terms)
    hello.spec.hash = hash_combine(hello.spec.hash, content_hash(as_bytes(term)));
  hello.spec.global_batch = options_.data.global_batch;
  hello.spec.data_set_size = data_.samples();
  hello.spec.arithmetic_class = options_.arithmetic_class;
  return hello;
}

// What must be equal at all members beside the registered state; the longest list is the last.
std::vector<std::string> EngineImpl::terms() const
{
  std::vector<std::string> terms;
  for (const DataPart& part : options_.data.parts)
    terms.push_back(absl::StrCat("data part '", part.name, "' of ", part.size, " samples"));
  terms.push_back(absl::StrCat("data seed ", options_.data.seed));
  terms.push_back(options_.last_step ? absl::StrCat("last step ", options_.last_step->value())
                                     : std::string("no last step"));
  terms.push_back(absl::StrCat(options_.parameter_count, " trained parameters"));
  for (std::size_t i = 0; i < buckets_.size(); ++i)
    terms.push_back(absl::StrCat("bucket ", i, " of ", buckets_[i].count, " ",
                                 comm::name_of(buckets_[i].type)));
  return terms;
}

// The link outlives the engine, so its calls go through a gate that the destructor closes.
coordinator::LinkCallbacks EngineImpl::link_callbacks()
{
  coordinator::LinkCallbacks callbacks;
  callbacks.on_message = [gate = gate_](const ControlMessage& message) {
    gate->pass([&](EngineImpl& engine) {
      if (std::holds_alternative<Abort>(message)) engine.fault("abort.received");
      if (std::holds_alternative<EpochAnnouncement>(message)) engine.fault("epoch.received");
      engine.driver_.feed(ControlReceived{message});
    });
  };
  callbacks.on_acknowledged = [gate = gate_](MonotonicTime sent_at) {
    gate->pass([&](EngineImpl& engine) {
      engine.driver_.feed(LeaseExtended{deadline_after(sent_at, engine.lease_)});
    });
  };
  callbacks.on_connection = [gate = gate_](bool up, const absl::Status& why) {
    gate->pass([&](EngineImpl& engine) {
      if (up) return engine.driver_.feed(ConnectionUp{});
      log_warning("the coordinator is not heard: ", why.message());
      engine.driver_.feed(ConnectionDown{});
      if (why.code() == absl::StatusCode::kUnavailable) return;
      engine.driver_.locked([&] { engine.link_over_ = why; });
    });
  };
  callbacks.on_leave_request = [gate = gate_](bool urgent) {
    gate->pass([&](EngineImpl& engine) {
      engine.fault("leave.requested");
      engine.driver_.feed(LeaveRequested{urgent});
    });
  };
  return callbacks;
}

LinkContext EngineImpl::link_context()
{
  LinkContext context;
  context.transport = transport_.get();
  context.clock = &clock_;
  context.self = self_;
  for (const BucketSpec& bucket : buckets_)
    context.bucket_bytes.push_back(bucket.count * comm::size_bytes(bucket.type));
  context.attempt = options_.prepare_timeout;
  context.events.on_ready = [this](Number number) { driver_.feed(Prepared{number}); };
  context.events.on_unreachable = [this](Number number, std::vector<WorkerId> peers) {
    driver_.feed(PeersUnreachable{number, std::move(peers)});
  };
  context.events.on_lost = [this](Number number, WorkerId peer, const std::string& reason) {
    peer_lost(number, peer, reason);
  };
  context.events.on_base = [this](const BaseNamed& base) { driver_.feed(base); };
  return context;
}

std::unique_ptr<Copier> EngineImpl::make_copier()
{
  Copier::Config config;
  config.transport = transport_.get();
  config.clock = &clock_;
  config.state_bytes = served_.size_bytes();
  config.range_bytes = kRangeBytes;
  config.timeout = options_.copy_timeout;
  config.on_arrived = [this](StateName base, std::size_t range) {
    fault("join.copying", base.step);
    driver_.feed_if([&] { return copier_->holds(base, range); }, RangeArrived{base, range});
  };
  config.on_failed = [this](Number number, WorkerId donor, const absl::Status& status) {
    log_error("the base cannot be copied: ", status.message());
    peer_lost(number, donor, "it gives no state");
  };
  return std::make_unique<Copier>(std::move(config));
}

Pulse::Config EngineImpl::pulse_config()
{
  Pulse::Config config;
  config.clock = &clock_;
  config.link = services_.link;
  config.busy_limit = options_.busy_limit;
  config.tend_links = [this] {
    links_->reap();
    return links_->progress_left();
  };
  config.p99 = [this] { return step_times_.p99(); };
  config.telemetry = [this] {
    const double seconds = std::chrono::duration<double>(step_times_.median()).count();
    coordinator::Telemetry telemetry;
    telemetry.step = StepId(held_step_.load(std::memory_order_relaxed));
    telemetry.step_seconds = seconds;
    if (seconds > 0)
      telemetry.samples_per_second = static_cast<double>(options_.data.global_batch) / seconds;
    const std::lock_guard lock(stats_mutex_);
    telemetry.steps_aborted = stats_.steps_aborted;
    telemetry.doing = "training";
    return telemetry;
  };
  config.on_long_wait = [this](Number number, StepId step) {
    log_warning("step ", step.value(), " of ", number.value(),
                " waits for other members much longer than steps took; the last collectives: ",
                transport_->recorder().json());
  };
  return config;
}

void EngineImpl::fault(absl::string_view point, StepId step) const
{
  fault_point(point, {.worker = self_.value(), .step = step.value(), .rank = 0});
}

void EngineImpl::request_stop()
{
  stop_requested_.store(true, std::memory_order_relaxed);
}

void EngineImpl::request_leave()
{
  fault("leave.requested");
  driver_.feed(LeaveRequested{});
}

namespace {

class BusyScope final : public Engine::Busy
{
 public:
  BusyScope(Pulse& pulse, const std::string& label) : pulse_(pulse) { pulse_.begin_busy(label); }
  ~BusyScope() override { pulse_.end_busy(); }

 private:
  Pulse& pulse_;
};

}  // namespace

std::unique_ptr<Engine::Busy> EngineImpl::busy(std::string label)
{
  return std::make_unique<BusyScope>(*pulse_, label);
}

EngineStats EngineImpl::stats() const
{
  const std::lock_guard lock(stats_mutex_);
  EngineStats stats = stats_;
  stats.state_bytes_copied = copier_->bytes_read();
  return stats;
}

StateName EngineImpl::state_name() const
{
  return {Number(held_number_.load(std::memory_order_relaxed)),
          StepId(held_step_.load(std::memory_order_relaxed))};
}

}  // namespace spillway::engine
