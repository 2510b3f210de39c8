// SPDX-License-Identifier: Apache-2.0
// The messages of hello.h.
#include "rpc/node_wire.h"
#include "spillway/base/status.h"

namespace spillway::wire {
namespace {

void to_wire(const coordinator::TensorSpec& in, TensorSpec* out)
{
  const auto& [name, type, shape] = in;
  out->set_name(name);
  out->set_type(type);
  out->mutable_shape()->Add(shape.begin(), shape.end());
}

void to_wire(const coordinator::JobSpec& in, JobSpec* out)
{
  const auto& [tensors, terms, hash, global_batch, data_set_size, arithmetic_class] = in;
  for (const coordinator::TensorSpec& tensor : tensors) to_wire(tensor, out->add_tensors());
  out->mutable_terms()->Add(terms.begin(), terms.end());
  out->set_hash(hash);
  out->set_global_batch(global_batch);
  out->set_data_set_size(data_set_size);
  out->set_arithmetic_class(arithmetic_class);
}

void from_wire(const JobSpec& in, coordinator::JobSpec* out)
{
  out->tensors.clear();
  for (const TensorSpec& tensor : in.tensors())
    out->tensors.push_back(
        {tensor.name(), tensor.type(), {tensor.shape().begin(), tensor.shape().end()}});
  out->terms.assign(in.terms().begin(), in.terms().end());
  out->hash = in.hash();
  out->global_batch = in.global_batch();
  out->data_set_size = in.data_set_size();
  out->arithmetic_class = in.arithmetic_class();
}

void to_wire(const coordinator::JobOptions& in, JobOptions* out)
{
  const auto& [nodes_min, nodes_max, workers_min, workers_max, lease, join_timeout, last_call] = in;
  out->set_nodes_min(nodes_min);
  out->set_nodes_max(nodes_max);
  out->set_workers_min(workers_min);
  out->set_workers_max(workers_max);
  out->set_lease_ns(lease.count());
  out->set_join_timeout_ns(join_timeout.count());
  out->set_last_call_ns(last_call.count());
}

coordinator::JobOptions options_from_wire(const JobOptions& in)
{
  return {in.nodes_min(),
          in.nodes_max(),
          in.workers_min(),
          in.workers_max(),
          Duration(in.lease_ns()),
          Duration(in.join_timeout_ns()),
          Duration(in.last_call_ns())};
}

}  // namespace

void to_wire(const absl::Status& in, Status* out)
{
  out->set_code(static_cast<int>(in.code()));
  out->set_message(std::string(in.message()));
}

absl::Status from_wire(const Status& in, absl::Status* out)
{
  if (in.code() < 0 || in.code() > static_cast<int>(absl::StatusCode::kUnauthenticated))
    return unknown_value("Status.code", in.code());
  *out = absl::Status(static_cast<absl::StatusCode>(in.code()), in.message());
  return absl::OkStatus();
}

void to_wire(const coordinator::WorkerHello& in, WorkerHello* out)
{
  const auto& [job, lineage, worker, node, site, slot, restart_count, pid, host, protocol_version,
               program_version, peer_address, weight, spec, status, members] = in;
  out->set_job(job);
  out->set_lineage(lineage.value());
  out->set_worker(worker.value());
  out->set_node(node.value());
  out->set_site(site.value());
  out->set_slot(slot);
  out->set_restart_count(restart_count);
  out->set_pid(pid);
  out->set_host(host);
  out->set_protocol_version(protocol_version);
  out->set_program_version(program_version);
  out->set_peer_address(peer_address);
  out->set_weight(weight);
  to_wire(spec, out->mutable_spec());
  to_wire(status, out->mutable_status());
  list_to_wire(members, out->mutable_members());
}

absl::Status from_wire(const WorkerHello& in, coordinator::WorkerHello* out)
{
  if (!in.has_spec()) return missing("WorkerHello.spec");
  if (!in.has_status()) return missing("WorkerHello.status");
  out->job = in.job();
  out->lineage = Lineage(in.lineage());
  out->worker = WorkerId(in.worker());
  out->node = NodeId(in.node());
  out->site = SiteId(in.site());
  out->slot = in.slot();
  out->restart_count = in.restart_count();
  out->pid = in.pid();
  out->host = in.host();
  out->protocol_version = in.protocol_version();
  out->program_version = in.program_version();
  out->peer_address = in.peer_address();
  out->weight = in.weight();
  from_wire(in.spec(), &out->spec);
  SPILLWAY_RETURN_IF_ERROR(from_wire(in.status(), &out->status));
  return list_from_wire(in.members(), &out->members);
}

void to_wire(const coordinator::Welcome& in, Welcome* out)
{
  const auto& [worker, node, site, lineage, lease] = in;
  out->set_worker(worker.value());
  out->set_node(node.value());
  out->set_site(site.value());
  out->set_lineage(lineage.value());
  out->set_lease_ns(lease.count());
}

absl::Status from_wire(const Welcome& in, coordinator::Welcome* out)
{
  *out = {WorkerId(in.worker()), NodeId(in.node()), SiteId(in.site()), Lineage(in.lineage()),
          Duration(in.lease_ns())};
  return absl::OkStatus();
}

void to_wire(const coordinator::Telemetry& in, Telemetry* out)
{
  const auto& [step, step_seconds, samples_per_second, steps_aborted, doing] = in;
  out->set_step(step.value());
  out->set_step_seconds(step_seconds);
  out->set_samples_per_second(samples_per_second);
  out->set_steps_aborted(steps_aborted);
  out->set_doing(doing);
}

absl::Status from_wire(const Telemetry& in, coordinator::Telemetry* out)
{
  *out = {StepId(in.step()), in.step_seconds(), in.samples_per_second(), in.steps_aborted(),
          in.doing()};
  return absl::OkStatus();
}

void to_wire(const coordinator::NodeHello& in, NodeHello* out)
{
  const auto& [job, lineage, node, session, host, pid, address, master_port, slots,
               protocol_version, program_version, options] = in;
  out->set_job(job);
  out->set_lineage(lineage.value());
  out->set_node(node.value());
  out->set_session(session);
  out->set_host(host);
  out->set_pid(pid);
  out->set_address(address);
  out->set_master_port(master_port);
  out->set_slots(slots);
  out->set_protocol_version(protocol_version);
  out->set_program_version(program_version);
  to_wire(options, out->mutable_options());
}

absl::Status from_wire(const NodeHello& in, coordinator::NodeHello* out)
{
  if (!in.has_options()) return missing("NodeHello.options");
  out->job = in.job();
  out->lineage = Lineage(in.lineage());
  out->node = NodeId(in.node());
  out->session = in.session();
  out->host = in.host();
  out->pid = in.pid();
  out->address = in.address();
  out->master_port = in.master_port();
  out->slots = in.slots();
  out->protocol_version = in.protocol_version();
  out->program_version = in.program_version();
  out->options = options_from_wire(in.options());
  return absl::OkStatus();
}

void to_wire(const coordinator::NodeWelcome& in, NodeWelcome* out)
{
  const auto& [node, site, lineage, term, heartbeat, lease] = in;
  out->set_node(node.value());
  out->set_site(site.value());
  out->set_lineage(lineage.value());
  out->set_term(term);
  out->set_heartbeat_ns(heartbeat.count());
  out->set_lease_ns(lease.count());
}

absl::Status from_wire(const NodeWelcome& in, coordinator::NodeWelcome* out)
{
  *out = {NodeId(in.node()), SiteId(in.site()),           Lineage(in.lineage()),
          in.term(),         Duration(in.heartbeat_ns()), Duration(in.lease_ns())};
  return absl::OkStatus();
}

void to_wire(const coordinator::Rendezvous& in, Rendezvous* out)
{
  out->set_round(in.round);
  for (const auto& [node, address, master_port, slots] : in.nodes)
  {
    Rendezvous::Node* one = out->add_nodes();
    one->set_node(node.value());
    one->set_address(address);
    one->set_master_port(master_port);
    one->set_slots(slots);
  }
}

absl::Status from_wire(const Rendezvous& in, coordinator::Rendezvous* out)
{
  out->round = in.round();
  out->nodes.clear();
  for (const Rendezvous::Node& node : in.nodes())
    out->nodes.push_back({NodeId(node.node()), node.address(), node.master_port(), node.slots()});
  return absl::OkStatus();
}

void to_wire(const coordinator::ExitReport& in, ExitReport* out)
{
  const auto& [exit_code, signal, last_words] = in;
  out->set_exit_code(exit_code);
  out->set_signal(signal);
  out->set_last_words(last_words);
}

absl::Status from_wire(const ExitReport& in, coordinator::ExitReport* out)
{
  *out = {in.exit_code(), in.signal(), in.last_words()};
  return absl::OkStatus();
}

}  // namespace spillway::wire
