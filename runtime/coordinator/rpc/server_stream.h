// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "rpc/operation.h"
#include "rpc/outbox.h"

namespace spillway::coordinator {

// A server's side of one bidirectional stream. Messages are handed over in order, in a thread of
// the server's queue; send() and finish() may come from any thread, never block, and write in the
// caller's thread if nothing else is being written. Alive while an operation of it is under way.
template <typename In, typename Out>
class ServerStream : public std::enable_shared_from_this<ServerStream<In, Out>>
{
 public:
  struct Handler
  {
    std::function<void(const In&)> on_message;
    // Once, after the last message: nothing is sent any more.
    std::function<void()> on_end;
  };

  explicit ServerStream(std::size_t messages_max) : outbox_(messages_max) {}
  // For the service's Request… method.
  grpc::ServerContext& context() { return context_; }
  grpc::ServerAsyncReaderWriter<Out, In>& call() { return call_; }

  // `alive` is let go of once no operation is under way any more.
  void begin(Handler handler, std::shared_ptr<void> alive)
  {
    handler_ = std::move(handler);
    alive_ = std::move(alive);
    read();
  }

  // False when the stream is over or too much waits; it is then ended.
  bool send(Out message)
  {
    const std::lock_guard lock(mutex_);
    if (result_) return false;
    if (!outbox_.push(std::move(message)))
    {
      end_locked(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED,
                              "the other side does not read what it is sent"));
      context_.TryCancel();
      return false;
    }
    pump();
    return true;
  }

  // What waits is still written; the first result holds.
  void finish(const grpc::Status& result)
  {
    const std::lock_guard lock(mutex_);
    if (result_) return;
    result_ = result;
    pump();
  }

  // At once, also with a peer that does not read.
  void cancel()
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    end_locked(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server ends"));
    context_.TryCancel();
  }

 private:
  void read()
  {
    call_.Read(&incoming_, Operation::begin([self = this->shared_from_this()](bool ok) {
      if (!ok) return self->on_last_read();
      self->handler_.on_message(self->incoming_);
      self->read();
    }));
  }
  void on_last_read()
  {
    handler_.on_end();
    handler_ = {};
    const std::lock_guard lock(mutex_);
    last_read_ = true;
    if (!result_) result_ = grpc::Status::OK;
    pump();
    if (last_write_) alive_ = nullptr;
  }
  void end_locked(const grpc::Status& result)
  {
    outbox_.clear();
    if (!result_) result_ = result;
    pump();
  }
  void pump()
  {
    if (writing_ || finished_) return;
    if (std::optional<Out> next = outbox_.pop())
    {
      writing_ = true;
      call_.Write(*next, Operation::begin([self = this->shared_from_this()](bool ok) {
        const std::lock_guard lock(self->mutex_);
        self->writing_ = false;
        if (ok) return self->pump();
        self->end_locked(grpc::Status::CANCELLED);
      }));
      return;
    }
    if (!result_) return;
    finished_ = true;
    call_.Finish(*result_, Operation::begin([self = this->shared_from_this()](bool) {
      const std::lock_guard lock(self->mutex_);
      self->last_write_ = true;
      if (self->last_read_) self->alive_ = nullptr;
    }));
  }

  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<Out, In> call_{&context_};
  Handler handler_;
  In incoming_;

  std::mutex mutex_;
  Outbox<Out> outbox_;
  bool writing_ = false;
  bool last_read_ = false;
  bool last_write_ = false;
  std::shared_ptr<void> alive_;
  bool finished_ = false;
  std::optional<grpc::Status> result_;
};

}  // namespace spillway::coordinator
