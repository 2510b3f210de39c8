// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/server.h"

#include "absl/strings/str_cat.h"
#include "rpc/address.h"
#include "rpc/channel.h"
#include "rpc/coordinator_calls.h"
#include "rpc/door.h"
#include "rpc/node_wire.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::coordinator {
namespace {

// An agent of a few workers, each of which may be told a list of thousands.
constexpr std::size_t kOrdersMax = 16384;
constexpr int kStreamThreads = 2;

using AgentStream = ServerStream<wire::NodeMessage, wire::NodeOrder>;

// One agent's stream, from its hello to its end.
class Attendance
{
 public:
  Attendance(Coordinator& coordinator, std::shared_ptr<AgentStream> stream)
      : coordinator_(coordinator), stream_(std::move(stream))
  {
  }

  void on_message(const wire::NodeMessage& in)
  {
    if (over_) return;
    NodeMessage message;
    absl::Status status = from_wire(in, &message);
    if (status.ok() && runner_ == nullptr) status = enter(message);
    if (!status.ok()) return refuse(status);
    if (!runner_->post(id_, std::move(message)))
      refuse(absl::UnavailableError("the coordinator has too much to do for this job; try later"));
  }

  void on_end()
  {
    if (runner_ != nullptr) runner_->disconnect(id_);
    runner_ = nullptr;
  }

 private:
  absl::Status enter(const NodeMessage& message)
  {
    const auto* hello = std::get_if<NodeHello>(&message);
    if (hello == nullptr)
      return absl::InvalidArgumentError("an agent's first message must introduce it");
    SPILLWAY_ASSIGN_OR_RETURN(runner_, coordinator_.job(hello->job));
    id_ = runner_->connect(
        {[stream = stream_](const NodeOrder& order) {
           wire::NodeOrder out;
           to_wire(order, &out);
           return stream->send(std::move(out));
         },
         [stream = stream_](const absl::Status& why) { stream->finish(to_grpc(why)); }});
    return absl::OkStatus();
  }

  // kUnavailable may be tried again, everything else is a word to the job.
  void refuse(const absl::Status& status)
  {
    over_ = true;
    log_warning("an agent is refused: ", status.message());
    if (status.code() != absl::StatusCode::kUnavailable)
    {
      wire::NodeOrder out;
      to_wire(NodeOrder(Refusal{status}), &out);
      stream_->send(std::move(out));
    }
    stream_->finish(to_grpc(status));
  }

  Coordinator& coordinator_;
  const std::shared_ptr<AgentStream> stream_;
  JobRunner* runner_ = nullptr;
  StreamId id_;
  bool over_ = false;
};

class RpcServer final : public Server
{
 public:
  explicit RpcServer(Coordinator& coordinator) : coordinator_(coordinator), service_(coordinator) {}
  const std::vector<std::string>& addresses() const override { return door_->addresses(); }

  absl::Status open(const std::vector<Address>& addresses)
  {
    SPILLWAY_ASSIGN_OR_RETURN(door_, Door::open(addresses, service_, kStreamThreads));
    door_->accept<wire::NodeMessage, wire::NodeOrder>(
        [this](auto* context, auto* call, auto* queue, void* tag) {
          service_.RequestAttend(context, call, queue, queue, tag);
        },
        kOrdersMax,
        [this](std::shared_ptr<AgentStream> stream) {
          auto attendance = std::make_shared<Attendance>(coordinator_, std::move(stream));
          return AgentStream::Handler{
              [attendance](const wire::NodeMessage& in) { attendance->on_message(in); },
              [attendance] { attendance->on_end(); }};
        });
    return absl::OkStatus();
  }

 private:
  Coordinator& coordinator_;
  CoordinatorCalls service_;
  std::unique_ptr<Door> door_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::listen(const ServerOptions& options,
                                                       Coordinator& coordinator)
{
  if (options.addresses.empty()) return absl::InvalidArgumentError("no address to listen on");
  std::vector<Address> addresses;
  for (const std::string& text : options.addresses)
  {
    SPILLWAY_ASSIGN_OR_RETURN(const Address address, parse_address(text));
    if (!options.insecure && !is_loopback(address))
      return absl::FailedPreconditionError(absl::StrCat(
          "the coordinator does not listen on ", text,
          ": whoever reaches it rules the job, and nothing is encrypted or authenticated yet; give "
          "--insecure on a network that you trust, or listen on 127.0.0.1"));
    addresses.push_back(address);
  }
  auto server = std::make_unique<RpcServer>(coordinator);
  SPILLWAY_RETURN_IF_ERROR(server->open(addresses));
  return server;
}

}  // namespace spillway::coordinator
