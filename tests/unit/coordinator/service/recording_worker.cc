// SPDX-License-Identifier: Apache-2.0
#include "recording_worker.h"

namespace spillway::coordinator {

NodeHello node_hello(std::uint32_t workers, std::uint32_t nodes)
{
  NodeHello hello;
  hello.job = "mnist";
  hello.host = "alpha";
  hello.pid = 100;
  hello.address = "127.0.0.1";
  hello.master_port = 29500;
  hello.slots = workers;
  hello.options.nodes_min = nodes;
  hello.options.nodes_max = nodes;
  hello.options.workers_min = 1;
  hello.options.workers_max = workers * nodes;
  return hello;
}

WorkerHello worker_hello(std::int64_t pid)
{
  WorkerHello hello;
  hello.job = "mnist";
  hello.pid = pid;
  hello.host = "alpha";
  hello.peer_address = "127.0.0.1:5000";
  hello.spec.tensors = {{"fc.weight", "float32", {256, 784}}, {"fc.bias", "float32", {256}}};
  hello.spec.terms = {"data seed 5"};
  hello.spec.hash = 0xabc;
  hello.spec.global_batch = 64;
  hello.spec.data_set_size = 60000;
  hello.spec.arithmetic_class = "cpu avx2 threads=1";
  return hello;
}

RecordingWorker::RecordingWorker(InProcessNode& node, const Clock& clock, std::int64_t pid)
    : hello(worker_hello(pid)), clock_(clock), link_(node.make_link())
{
  const auto locked = [this](auto change) {
    {
      const std::lock_guard lock(mutex_);
      change();
    }
    changed_.notify_all();
  };
  LinkCallbacks callbacks;
  callbacks.on_message = [=, this](const ControlMessage& message) {
    locked([&] {
      if (react_) react_(message);
      inbox_.push_back(message);
      ++messages_;
    });
  };
  callbacks.on_acknowledged = [=, this](MonotonicTime sent_at) {
    locked([&] { acknowledged_ = sent_at; });
  };
  callbacks.on_connection = [=, this](bool up, const absl::Status& why) {
    locked([&] {
      ++(up ? ups_ : downs_);
      why_ = why;
    });
  };
  callbacks.on_leave_request = [=, this](bool) { locked([&] { ++leave_requests_; }); };
  link_->start(callbacks);
}

RecordingWorker::~RecordingWorker() = default;

absl::Status RecordingWorker::enter()
{
  const auto welcome = link_->register_worker(hello, deadline_after(clock_.now(), kSoon));
  if (!welcome.ok()) return welcome.status();
  const std::lock_guard lock(mutex_);
  id_ = welcome->worker;
  status.lineage = welcome->lineage;
  say();
  return absl::OkStatus();
}

void RecordingWorker::install(const EpochAnnouncement& epoch)
{
  const std::lock_guard lock(mutex_);
  members_ = *apply_update(members_.get(), epoch.members);
  status.current = status.installed = status.highest_seen = epoch.name.job_epoch;
  status.promised = std::max(status.promised, epoch.name.job_epoch);
  status.applied = epoch.base;
  status.fault.reset();
  say();
}

void RecordingWorker::promise(Number number)
{
  const std::lock_guard lock(mutex_);
  status.promised = status.highest_seen = number;
  say();
}

void RecordingWorker::switch_to(Number number, StepId step, MemberListPtr members)
{
  const std::lock_guard lock(mutex_);
  status.switched_from = status.current;
  status.applied = StateName{status.current, step};
  status.installed = status.highest_seen = status.first_word = number;
  if (members->contains(id_))
    status.current = number;
  else
    status.left = number;
  members_ = std::move(members);
  say();
}

bool RecordingWorker::wait_until(const std::function<bool()>& condition)
{
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kSoon, condition);
}

}  // namespace spillway::coordinator
