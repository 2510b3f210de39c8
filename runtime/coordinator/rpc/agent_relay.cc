// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/agent_relay.h"

#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "rpc/channel.h"
#include "rpc/door.h"
#include "rpc/node_wire.h"
#include "rpc/services.grpc.pb.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::coordinator {
namespace {

// A worker that has not read this many orders is stuck; its agent finds that by itself.
constexpr std::size_t kOrdersMax = 4096;

using WorkerStream = ServerStream<wire::WorkerMessage, wire::WorkerOrder>;

class Relay final : public AgentRelay
{
 public:
  Relay(std::string path, NodeSession& session) : path_(std::move(path)), session_(session) {}
  ~Relay() override
  {
    door_ = nullptr;
    unlink(path_.c_str());
  }

  absl::Status open(const Address& address)
  {
    SPILLWAY_ASSIGN_OR_RETURN(door_, Door::open({address}, service_, 1));
    if (chmod(path_.c_str(), S_IRUSR | S_IWUSR) != 0)
      return absl::UnavailableError(absl::StrCat("cannot protect the socket ", path_));
    door_->accept<wire::WorkerMessage, wire::WorkerOrder>(
        [this](auto*... with) { request(with...); }, kOrdersMax,
        [this](std::shared_ptr<WorkerStream> stream) { return serve(std::move(stream)); });
    return absl::OkStatus();
  }

 private:
  template <typename Context, typename Call, typename Queue>
  void request(Context* context, Call* call, Queue* queue, void* tag)
  {
    service_.RequestServe(context, call, queue, queue, tag);
  }

  WorkerStream::Handler serve(std::shared_ptr<WorkerStream> stream)
  {
    const LinkId link = session_.open_link([stream](const WorkerOrder& order) {
      wire::WorkerOrder out;
      to_wire(order, &out);
      stream->send(std::move(out));
    });
    return {[this, link, stream](const wire::WorkerMessage& in) {
              WorkerMessage message;
              const absl::Status status = from_wire(in, &message);
              if (status.ok()) return session_.from_worker(link, std::move(message));
              log_warning("a worker is not understood: ", status.message());
              stream->finish(to_grpc(status));
            },
            [this, link] { session_.close_link(link); }};
  }

  const std::string path_;
  NodeSession& session_;
  wire::Agent::AsyncService service_;
  std::unique_ptr<Door> door_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AgentRelay>> AgentRelay::listen(const std::string& socket_path,
                                                               NodeSession& session)
{
  SPILLWAY_ASSIGN_OR_RETURN(const Address address,
                            parse_address(absl::StrCat("unix:", socket_path)));
  auto relay = std::make_unique<Relay>(socket_path, session);
  SPILLWAY_RETURN_IF_ERROR(relay->open(address));
  return relay;
}

}  // namespace spillway::coordinator
