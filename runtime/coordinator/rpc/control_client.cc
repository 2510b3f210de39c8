// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "rpc/channel.h"
#include "rpc/report_wire.h"
#include "rpc/services.grpc.pb.h"
#include "spillway/base/status.h"
#include "spillway/coordinator/agent_client.h"

namespace spillway::coordinator {
namespace {

using Stub = wire::Coordinator::Stub;

// One call over a connection of its own, within `timeout`.
template <typename In, typename Out>
absl::Status call(const std::string& text, Duration timeout,
                  grpc::Status (Stub::*method)(grpc::ClientContext*, const In&, Out*), const In& in,
                  Out* out)
{
  SPILLWAY_ASSIGN_OR_RETURN(const Address address, parse_address(text));
  const std::unique_ptr<Stub> stub = wire::Coordinator::NewStub(open_channel(address));
  grpc::ClientContext context;
  context.set_deadline(grpc_deadline(timeout));
  const absl::Status status = to_absl((stub.get()->*method)(&context, in, out));
  if (status.code() == absl::StatusCode::kUnavailable ||
      status.code() == absl::StatusCode::kDeadlineExceeded)
    return annotate(status, absl::StrCat("coordinator at ", text));
  return status;
}

}  // namespace

ControlClient::ControlClient(std::string address, Duration timeout)
    : address_(std::move(address)), timeout_(timeout)
{
}

absl::StatusOr<JobReport> ControlClient::report(const std::string& job)
{
  wire::JobRequest in;
  in.set_job(job);
  wire::JobReport out;
  SPILLWAY_RETURN_IF_ERROR(call(address_, timeout_, &Stub::Report, in, &out));
  JobReport report;
  SPILLWAY_RETURN_IF_ERROR(from_wire(out, &report));
  return report;
}

absl::StatusOr<std::vector<JobSummary>> ControlClient::list_jobs()
{
  wire::JobList out;
  SPILLWAY_RETURN_IF_ERROR(call(address_, timeout_, &Stub::ListJobs, wire::ListRequest(), &out));
  std::vector<JobSummary> jobs;
  for (const wire::JobSummary& job : out.jobs())
    SPILLWAY_RETURN_IF_ERROR(from_wire(job, &jobs.emplace_back()));
  return jobs;
}

absl::Status ControlClient::adopt(const std::string& job, Lineage lineage)
{
  wire::AdoptRequest in;
  in.set_job(job);
  in.set_lineage(lineage.value());
  wire::Done out;
  return call(address_, timeout_, &Stub::Adopt, in, &out);
}

absl::Status ControlClient::abandon_worker(const std::string& job, WorkerId worker,
                                           const std::string& reason)
{
  wire::AbandonRequest in;
  in.set_job(job);
  in.set_worker(worker.value());
  in.set_reason(reason);
  wire::Done out;
  return call(address_, timeout_, &Stub::Abandon, in, &out);
}

absl::Status ControlClient::abandon_node(const std::string& job, NodeId node,
                                         const std::string& reason)
{
  wire::AbandonRequest in;
  in.set_job(job);
  in.set_node(node.value());
  in.set_reason(reason);
  wire::Done out;
  return call(address_, timeout_, &Stub::Abandon, in, &out);
}

absl::Status ControlClient::end(const std::string& job, const std::string& reason)
{
  wire::EndRequest in;
  in.set_job(job);
  in.set_reason(reason);
  wire::Done out;
  return call(address_, timeout_, &Stub::End, in, &out);
}

}  // namespace spillway::coordinator
