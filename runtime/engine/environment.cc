// SPDX-License-Identifier: Apache-2.0
#include "spillway/engine/environment.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "spillway/base/environment.h"
#include "spillway/base/status.h"
#include "spillway/comm/transport.h"
#include "spillway/coordinator/link.h"

namespace spillway::engine {
namespace {

absl::Status read_number(const char* name, std::uint32_t& value)
{
  const auto text = environment(name);
  if (!text || absl::SimpleAtoi(*text, &value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      name, "='", *text, "' is not a number; `spillway run` sets it, so do not set it yourself"));
}

class ProcessServicesImpl : public ProcessServices
{
 public:
  explicit ProcessServicesImpl(const WorkerEnvironment& environment)
      : host_(environment.host),
        link_(coordinator::make_worker_link(environment.agent_socket, system_clock()))
  {
  }

  EngineServices services() override
  {
    EngineServices services;
    services.link = link_.get();
    services.make_transport = comm::make_transport;
    services.host = host_;
    services.clock = &system_clock();
    return services;
  }

 private:
  std::string host_;
  std::unique_ptr<coordinator::ControlLink> link_;
};

}  // namespace

absl::StatusOr<WorkerEnvironment> read_worker_environment()
{
  WorkerEnvironment result;
  const auto socket = environment("SPILLWAY_AGENT_SOCKET");
  const auto job = environment("SPILLWAY_JOB");
  if (!socket || socket->empty() || !job)
    return absl::FailedPreconditionError(
        "this program trains as a worker of `spillway run`, which was not what started it "
        "(SPILLWAY_AGENT_SOCKET is not set). Start it on this machine alone with: spillway run "
        "--standalone --nproc-per-node 2 PROGRAM ARGUMENTS");
  result.job = *job;
  result.agent_socket = *socket;
  if (const auto host = environment("SPILLWAY_LOCAL_ADDR"); host && !host->empty())
    result.host = *host;
  if (const auto directory = environment("SPILLWAY_EVENT_LOG_DIR"))
    result.event_log_directory = *directory;
  SPILLWAY_RETURN_IF_ERROR(read_number("SPILLWAY_SLOT", result.slot));
  SPILLWAY_RETURN_IF_ERROR(read_number("SPILLWAY_RESTART_COUNT", result.restart_count));
  return result;
}

std::unique_ptr<ProcessServices> ProcessServices::create(const WorkerEnvironment& environment)
{
  return std::make_unique<ProcessServicesImpl>(environment);
}

}  // namespace spillway::engine
