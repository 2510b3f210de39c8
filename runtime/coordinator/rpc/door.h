// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "rpc/address.h"
#include "rpc/operation.h"
#include "rpc/server_stream.h"

namespace spillway::coordinator {

// A gRPC server on some addresses, with the threads that serve its streams. Its destructor ends
// every call and returns when none is under way.
class Door
{
 public:
  // The service outlives the door.
  //   kUnavailable  an address in use, or not of this machine
  static absl::StatusOr<std::unique_ptr<Door>> open(const std::vector<Address>& addresses,
                                                    grpc::Service& service, int threads);
  ~Door();
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  // With the ports that were chosen.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // Takes streams of one method from now on: `request` is the service's Request… method, `serve`
  // says how a new one is handled.
  template <typename In, typename Out, typename Request>
  void accept(
      Request request, std::size_t messages_max,
      std::function<typename ServerStream<In, Out>::Handler(std::shared_ptr<ServerStream<In, Out>>)>
          serve)
  {
    auto stream = std::make_shared<ServerStream<In, Out>>(messages_max);
    request(&stream->context(), &stream->call(), queue_.get(),
            Operation::begin([this, request, messages_max, serve, stream](bool ok) {
              if (!ok) return;
              accept<In, Out>(request, messages_max, serve);
              stream->begin(serve(stream), alive_token());
            }));
  }

 private:
  Door() = default;
  std::shared_ptr<void> alive_token();

  std::vector<std::string> addresses_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable all_over_;
  int alive_ = 0;
};

}  // namespace spillway::coordinator
