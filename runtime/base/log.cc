// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

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

spdlog::level::level_enum level_from_environment()
{
  const std::string wanted = environment("SPILLWAY_LOG").value_or("info");
  return spdlog::level::from_str(wanted == "warning" ? "warn" : wanted);
}

struct Logger
{
  Logger() : sink(std::make_shared<spdlog::sinks::stderr_sink_mt>()), log("spillway", sink)
  {
    log.set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    log.set_level(level_from_environment());
    log.flush_on(spdlog::level::debug);
  }
  std::shared_ptr<spdlog::sinks::stderr_sink_mt> sink;
  spdlog::logger log;
  std::mutex mutex;
  std::string context;
};

Logger& logger()
{
  static Logger* const instance = new Logger;  // never destroyed: threads may log during exit
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
