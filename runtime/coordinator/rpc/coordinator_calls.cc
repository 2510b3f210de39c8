// SPDX-License-Identifier: Apache-2.0
#include "rpc/coordinator_calls.h"

#include "rpc/channel.h"
#include "rpc/report_wire.h"

namespace spillway::coordinator {

grpc::Status CoordinatorCalls::Report(grpc::ServerContext*, const wire::JobRequest* in,
                                      wire::JobReport* out)
{
  const absl::StatusOr<JobRunner*> runner = coordinator_.existing_job(in->job());
  if (!runner.ok()) return to_grpc(runner.status());
  const absl::StatusOr<JobReport> report = (*runner)->report();
  if (!report.ok()) return to_grpc(report.status());
  to_wire(*report, out);
  return grpc::Status::OK;
}

grpc::Status CoordinatorCalls::ListJobs(grpc::ServerContext*, const wire::ListRequest*,
                                        wire::JobList* out)
{
  for (const JobSummary& job : coordinator_.list_jobs()) to_wire(job, out->add_jobs());
  return grpc::Status::OK;
}

grpc::Status CoordinatorCalls::Adopt(grpc::ServerContext*, const wire::AdoptRequest* in,
                                     wire::Done*)
{
  const absl::StatusOr<JobRunner*> runner = coordinator_.existing_job(in->job());
  if (!runner.ok()) return to_grpc(runner.status());
  return to_grpc((*runner)->adopt(Lineage(in->lineage())));
}

grpc::Status CoordinatorCalls::Abandon(grpc::ServerContext*, const wire::AbandonRequest* in,
                                       wire::Done*)
{
  const absl::StatusOr<JobRunner*> runner = coordinator_.existing_job(in->job());
  if (!runner.ok()) return to_grpc(runner.status());
  switch (in->whom_case())
  {
    case wire::AbandonRequest::kWorker:
      return to_grpc((*runner)->abandon_worker(WorkerId(in->worker()), in->reason()));
    case wire::AbandonRequest::kNode:
      return to_grpc((*runner)->abandon_node(NodeId(in->node()), in->reason()));
    case wire::AbandonRequest::WHOM_NOT_SET:
      break;
  }
  return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "nobody was named to be abandoned");
}

grpc::Status CoordinatorCalls::End(grpc::ServerContext*, const wire::EndRequest* in, wire::Done*)
{
  const absl::StatusOr<JobRunner*> runner = coordinator_.existing_job(in->job());
  if (!runner.ok()) return to_grpc(runner.status());
  return to_grpc((*runner)->end(in->reason()));
}

}  // namespace spillway::coordinator
