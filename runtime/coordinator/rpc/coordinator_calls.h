// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rpc/services.grpc.pb.h"
#include "spillway/coordinator/coordinator.h"

namespace spillway::coordinator {

// Operators' calls, each in a thread of gRPC's for as long as the runner takes, which is bounded.
// The agents' stream is served elsewhere (server.cc).
class CoordinatorCalls
    : public wire::Coordinator::WithAsyncMethod_Attend<wire::Coordinator::Service>
{
 public:
  explicit CoordinatorCalls(Coordinator& coordinator) : coordinator_(coordinator) {}
  grpc::Status Report(grpc::ServerContext* context, const wire::JobRequest* in,
                      wire::JobReport* out) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const wire::ListRequest* in,
                        wire::JobList* out) override;
  grpc::Status Adopt(grpc::ServerContext* context, const wire::AdoptRequest* in,
                     wire::Done* out) override;
  grpc::Status Abandon(grpc::ServerContext* context, const wire::AbandonRequest* in,
                       wire::Done* out) override;
  grpc::Status End(grpc::ServerContext* context, const wire::EndRequest* in,
                   wire::Done* out) override;

 private:
  Coordinator& coordinator_;
};

}  // namespace spillway::coordinator
