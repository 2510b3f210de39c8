// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <utility>

namespace spillway::coordinator {

// One operation under way at a completion queue: its tag, which also keeps alive what it captures.
class Operation
{
 public:
  static void* begin(std::function<void(bool ok)> done) { return new Operation(std::move(done)); }
  static void complete(void* tag, bool ok)
  {
    const std::unique_ptr<Operation> operation(static_cast<Operation*>(tag));
    operation->done_(ok);
  }

 private:
  explicit Operation(std::function<void(bool)> done) : done_(std::move(done)) {}
  std::function<void(bool)> done_;
};

// Until the queue is shut down and empty.
inline void complete_operations(grpc::CompletionQueue& queue)
{
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) Operation::complete(tag, ok);
}

}  // namespace spillway::coordinator
