// SPDX-License-Identifier: Apache-2.0
#include "state_server.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "spillway/base/hash.h"
#include "spillway/base/status.h"

namespace spillway::comm {
namespace {

const Number kServing(1);
// A reader that takes nothing for so long is gone or stuck; its slot goes to another one.
constexpr Duration kReaderPatience = std::chrono::seconds(10);
constexpr Duration kProbePatience = std::chrono::seconds(3);

absl::Status send_frame(int fd, absl::string_view payload, const CallBounds& bounds,
                        absl::string_view doing)
{
  return send_all(fd, as_bytes(framed(payload)), bounds, doing);
}

absl::Status send_piece(int fd, const PieceHeader& header, ByteSpan bytes, const CallBounds& bounds)
{
  SPILLWAY_RETURN_IF_ERROR(send_all(fd, object_bytes(header), bounds, "send a piece of state"));
  return send_all(fd, bytes, bounds, "send a piece of state");
}

}  // namespace

StateServer::StateServer(const Clock& clock, StateHandler handler)
    : clock_(clock), handler_(std::move(handler))
{
  for (std::size_t i = 0; i < kThreads; ++i) threads_.emplace_back([this] { run(); });
}

StateServer::~StateServer()
{
  stop();
  for (std::thread& thread : threads_) thread.join();
}

void StateServer::stop()
{
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  arrival_.notify_all();
  stopped_.raise(kServing);
}

void StateServer::take(Fd connection, Hello hello)
{
  const std::lock_guard lock(mutex_);
  if (stopping_ || queue_.size() >= kQueueLimit)
  {
    const std::string reply = framed(encode(
        Reply{.status = absl::UnavailableError("too many readers at once: try another donor"),
              .blob = {}}));
    send(connection.get(), reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return;
  }
  queue_.push_back(Work{std::move(connection), std::move(hello)});
  arrival_.notify_one();
}

void StateServer::run()
{
  while (true)
  {
    Work work;
    {
      std::unique_lock lock(mutex_);
      arrival_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    if (work.hello.kind == HelloKind::kProbe)
      answer_probe(work);
    else
      serve(work);
  }
}

void StateServer::serve(const Work& work)
{
  // Whatever fails here is the reader's to see and report: it names this process.
  const int fd = work.fd.get();
  {
    const CallBounds bounds(clock_, deadline_after(clock_.now(), kReaderPatience), stopped_,
                            kServing);
    absl::Status answer;
    if (!handler_) answer = absl::NotFoundError("this process serves no state");
    if (!send_frame(fd, encode(Reply{.status = answer, .blob = {}}), bounds, "answer").ok() ||
        !answer.ok())
      return;
  }
  while (true)
  {
    // The patience counts anew for each range.
    const CallBounds bounds(clock_, deadline_after(clock_.now(), kReaderPatience), stopped_,
                            kServing);
    const auto payload = receive_frame(fd, bounds, "await a range");
    if (!payload.ok()) return;
    const auto query = decode_range_query(as_bytes(*payload));
    if (!query.ok() || !serve_range(work, *query, bounds).ok()) return;
  }
}

absl::Status StateServer::serve_range(const Work& work, const RangeQuery& query,
                                      const CallBounds& bounds)
{
  std::vector<std::byte> piece(std::min<std::uint64_t>(query.bytes, kPieceBytes));
  for (std::uint64_t done = 0; done < query.bytes;)
  {
    const std::uint64_t offset = query.offset + done;
    const MutableByteSpan part(piece.data(),
                               std::min<std::uint64_t>(kPieceBytes, query.bytes - done));
    const absl::Status status = handler_(query.name, offset, part);
    if (!status.ok())
      return send_piece(work.fd.get(),
                        PieceHeader{.code = static_cast<std::uint32_t>(status.code()),
                                    .bytes = static_cast<std::uint32_t>(
                                        std::min(status.message().size(), kPieceBytes))},
                        as_bytes(status.message().substr(0, kPieceBytes)), bounds);
    const PieceHeader header{.bytes = static_cast<std::uint32_t>(part.size()),
                             .hash = content_hash(part, offset)};
    SPILLWAY_RETURN_IF_ERROR(send_piece(work.fd.get(), header, part, bounds));
    done += part.size();
  }
  return absl::OkStatus();
}

void StateServer::answer_probe(const Work& work)
{
  const CallBounds bounds(clock_, deadline_after(clock_.now(), kProbePatience), stopped_, kServing);
  Hello echo = work.hello;
  echo.kind = HelloKind::kEcho;
  std::swap(echo.from, echo.to);
  absl::Status status;
  absl::StatusOr<Fd> back = connect_to(work.hello.blob, bounds);
  status = back.status();
  if (status.ok()) status = send_frame(back->get(), encode(echo), bounds, "greet the prober");
  if (status.ok()) status = receive_frame(back->get(), bounds, "await the prober").status();
  // The prober's own deadline ends it if this answer is lost.
  send_frame(work.fd.get(),
             encode(Reply{.status = annotate(status, "on the way back"), .blob = {}}), bounds,
             "answer a probe")
      .IgnoreError();
}

}  // namespace spillway::comm
