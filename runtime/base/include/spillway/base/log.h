// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace spillway {

enum class LogLevel
{
  kDebug,
  kInfo,
  kWarning,
  kError
};

// Who is speaking: printed before every message of the process, so that lines of many workers can
// be told apart. Set once at start, again when rank or epoch change. Safe from any thread.
void set_log_context(absl::string_view context);

// Messages below `level` are dropped. Default kInfo, or SPILLWAY_LOG=debug|info|warning|error.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);

// One line to standard error, without waiting for its reader: lines that nobody takes are counted.
// Safe from any thread; must not be called in a signal handler.
void log_line(LogLevel level, absl::string_view message);

template <typename... Parts>
void log_info(const Parts&... parts)
{
  if (log_enabled(LogLevel::kInfo)) log_line(LogLevel::kInfo, absl::StrCat(parts...));
}
template <typename... Parts>
void log_warning(const Parts&... parts)
{
  if (log_enabled(LogLevel::kWarning)) log_line(LogLevel::kWarning, absl::StrCat(parts...));
}
template <typename... Parts>
void log_error(const Parts&... parts)
{
  if (log_enabled(LogLevel::kError)) log_line(LogLevel::kError, absl::StrCat(parts...));
}
template <typename... Parts>
void log_debug(const Parts&... parts)
{
  if (log_enabled(LogLevel::kDebug)) log_line(LogLevel::kDebug, absl::StrCat(parts...));
}

}  // namespace spillway
