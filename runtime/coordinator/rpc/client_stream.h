// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "rpc/channel.h"
#include "rpc/operation.h"
#include "rpc/outbox.h"
#include "spillway/base/check.h"

namespace spillway::coordinator {

// One call of a bidirectional stream, from open() to its end. The owner's thread calls open() and
// then poll() until it says false; send(), close_sending() and cancel() may come from any thread
// and never block. A message is written in the thread that sends it if nothing else is being
// written, and read in the owner's thread, so that neither costs a change of threads.
template <typename Out, typename In>
class ClientStream
{
 public:
  using Call = std::unique_ptr<grpc::ClientAsyncReaderWriter<Out, In>>;

  ClientStream(std::size_t messages_max, typename Outbox<Out>::Merge merge = nullptr)
      : outbox_(messages_max, merge)
  {
  }
  ~ClientStream()
  {
    if (!opened_) return;
    context_.TryCancel();
    while (poll(std::chrono::hours(1), [](const In&) {}))
    {
    }
    queue_.Shutdown();
    complete_operations(queue_);
  }
  ClientStream(const ClientStream&) = delete;
  ClientStream& operator=(const ClientStream&) = delete;

  // `prepare` is the stub's PrepareAsync… of the method.
  void open(const std::function<Call(grpc::ClientContext*, grpc::CompletionQueue*)>& prepare)
  {
    const std::lock_guard lock(mutex_);
    opened_ = true;
    call_ = prepare(&context_, &queue_);
    ++operations_;
    call_->StartCall(Operation::begin([this](bool ok) { on_started(ok); }));
  }

  // False when the stream has ended or too much waits; the stream is then of no use.
  bool send(Out message, int key = 0)
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || closing_) return false;
    if (!outbox_.push(std::move(message), key))
    {
      context_.TryCancel();
      return false;
    }
    pump();
    return true;
  }

  // Ends the stream in order: what waits is still written.
  void close_sending()
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    pump();
  }
  void cancel() { context_.TryCancel(); }

  // Hands over what comes within `timeout`, one message at most. False once the stream has ended.
  bool poll(Duration timeout, const std::function<void(const In&)>& on_message)
  {
    if (finished_) return false;
    void* tag = nullptr;
    bool ok = false;
    using Next = grpc::CompletionQueue::NextStatus;
    if (queue_.AsyncNext(&tag, &ok, grpc_deadline(timeout)) != Next::GOT_EVENT) return true;
    Operation::complete(tag, ok);
    if (!arrived_) return !finished_;
    arrived_ = false;
    on_message(incoming_);
    start_read();
    return !finished_;
  }

  // Of the owner's thread. Why the stream ended, after poll() said so.
  const grpc::Status& status() const { return status_; }

 private:
  void on_started(bool ok)
  {
    const std::lock_guard lock(mutex_);
    started_ = ok;
    --operations_;
    if (!ok) return finish_if_over(true);
    pump();
    read_locked();
  }
  void start_read()
  {
    const std::lock_guard lock(mutex_);
    read_locked();
  }
  void read_locked()
  {
    ++operations_;
    call_->Read(&incoming_, Operation::begin([this](bool ok) {
      const std::lock_guard lock(mutex_);
      --operations_;
      arrived_ = ok;
      finish_if_over(!ok);
    }));
  }
  void pump()
  {
    if (!started_ || writing_ || ended_) return;
    std::optional<Out> next = outbox_.pop();
    if (!next && (!closing_ || closed_)) return;
    writing_ = true;
    ++operations_;
    void* tag = Operation::begin([this](bool ok) {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      --operations_;
      if (ok) pump();
      finish_if_over(false);
    });
    if (next) return call_->Write(*next, tag);
    closed_ = true;
    call_->WritesDone(tag);
  }
  // The status can be asked for when nothing else is under way.
  void finish_if_over(bool over)
  {
    ended_ = ended_ || over;
    if (!ended_ || operations_ > 0 || finishing_) return;
    outbox_.clear();
    finishing_ = true;
    call_->Finish(&status_, Operation::begin([this](bool) { finished_ = true; }));
  }

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::mutex mutex_;
  Outbox<Out> outbox_;
  Call call_;
  bool opened_ = false;
  bool started_ = false;
  bool writing_ = false;
  bool closing_ = false;  // no more is sent
  bool closed_ = false;   // and the other side was told
  bool ended_ = false;    // nothing more comes
  bool finishing_ = false;
  int operations_ = 0;  // without Finish

  // Of the owner's thread.
  In incoming_;
  bool arrived_ = false;
  bool finished_ = false;
  grpc::Status status_;
};

}  // namespace spillway::coordinator
