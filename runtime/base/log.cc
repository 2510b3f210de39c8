// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/log.h"

#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <mutex>

#include "console_sink.h"
#include "spillway/base/environment.h"

namespace spillway {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level)
{
  switch (level)
  {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

constexpr int kFinishBoundMs = 500;

struct Logger
{
  Logger() : sink(std::make_shared<ConsoleSink>()), log("spillway", sink)
  {
    log.set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    const std::string wanted = environment("SPILLWAY_LOG").value_or("info");
    const auto level = spdlog::level::from_str(wanted == "warning" ? "warn" : wanted);
    const bool known = level != spdlog::level::off || wanted == "off";
    log.set_level(known ? level : spdlog::level::info);
    if (!known)
      log.warn("SPILLWAY_LOG={}: no such level; debug, info, warning, error or off", wanted);
  }
  std::shared_ptr<ConsoleSink> sink;
  spdlog::logger log;
  std::mutex mutex;
  std::string context;
};

Logger& logger();

Logger& logger()
{
  // Never destroyed: threads may log during exit.
  static Logger* const instance = [] {
    auto* const made = new Logger;
    std::atexit([] { logger().sink->finish(kFinishBoundMs); });
    return made;
  }();
  return *instance;
}

}  // namespace

void set_log_context(absl::string_view context)
{
  Logger& self = logger();
  const std::lock_guard lock(self.mutex);
  self.context = context.empty() ? "" : absl::StrCat("[", context, "] ");
}

void set_log_level(LogLevel level)
{
  logger().log.set_level(to_spdlog(level));
}

bool log_enabled(LogLevel level)
{
  return logger().log.should_log(to_spdlog(level));
}

void log_line(LogLevel level, absl::string_view message)
{
  Logger& self = logger();
  std::string context;
  {
    const std::lock_guard lock(self.mutex);
    context = self.context;
  }
  self.log.log(to_spdlog(level), "{}{}", context, std::string_view(message.data(), message.size()));
}

}  // namespace spillway
