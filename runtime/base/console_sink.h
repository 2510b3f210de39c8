// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <spdlog/sinks/base_sink.h>
#include <sys/types.h>

#include <cstdint>
#include <mutex>
#include <string>

namespace spillway {

// Standard error without ever waiting for its reader: a terminal that is held or a pipe that
// nobody reads costs lines, not the process that speaks. What is not taken at once is kept, up to a
// bound, and written with the next line, or by finish(); lines beyond that are counted, and the
// count is printed when there is room again.
class ConsoleSink final : public spdlog::sinks::base_sink<std::mutex>
{
 public:
  ~ConsoleSink() override;
  // The last chance of what was kept: waits for room up to `bound_ms`.
  void finish(int bound_ms);

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override { write_kept(); }

 private:
  void keep(const char* text, std::size_t bytes);
  void write_kept();
  ssize_t write_some();
  void look_at_descriptor();

  std::string kept_;
  std::uint64_t lost_ = 0;
  // Of a pipe or terminal: opened anew, so that not to wait is nobody else's property.
  int own_ = -1;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace spillway
