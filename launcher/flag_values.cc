// SPDX-License-Identifier: Apache-2.0
#include "flag_values.h"

#include <signal.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "spillway/base/status.h"
#include "spillway/launcher/flag_table.h"

namespace spillway {

absl::Status parse_node_range(const std::string& text, RunOptions& out)
{
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  int low = 0, high = 0;
  const bool readable = parts.size() <= 2 && absl::SimpleAtoi(parts.front(), &low) &&
                        absl::SimpleAtoi(parts.back(), &high);
  if (!readable || low < 1)
  {
    return absl::InvalidArgumentError(
        absl::StrCat("--nnodes ", text, ": must be N or MIN:MAX with 1 <= MIN <= MAX"));
  }
  if (low > high)
  {
    return absl::InvalidArgumentError(absl::StrCat("--nnodes ", text, ": the minimum ", low,
                                                   " is above the maximum ", high,
                                                   "; did you mean ", high, ":", low, "?"));
  }
  out.nodes_min = low;
  out.nodes_max = high;
  return absl::OkStatus();
}

absl::StatusOr<StreamChoice> parse_streams(const std::string& flag, const std::string& text)
{
  const auto bad = [&]() {
    return absl::InvalidArgumentError(absl::StrCat(
        "--", flag, " ", text,
        ": must be 0 (none), 1 (stdout), 2 (stderr) or 3 (both), or LOCAL_RANK:N,… as in 0:1,1:3"));
  };
  StreamChoice choice;
  if (absl::SimpleAtoi(text, &choice.everyone))
  {
    if (choice.everyone < 0 || choice.everyone > 3) return bad();
    return choice;
  }
  choice.everyone = 0;
  for (const absl::string_view item : absl::StrSplit(text, ','))
  {
    const std::vector<std::string> pair = absl::StrSplit(item, ':');
    int rank = 0, streams = 0;
    if (pair.size() != 2 || !absl::SimpleAtoi(pair[0], &rank) ||
        !absl::SimpleAtoi(pair[1], &streams))
      return bad();
    if (rank < 0 || streams < 0 || streams > 3) return bad();
    choice.by_local_rank[rank] = streams;
  }
  return choice;
}

absl::StatusOr<std::set<int>> parse_ranks(const std::string& flag, const std::string& text)
{
  std::set<int> ranks;
  for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipEmpty()))
  {
    int rank = 0;
    if (!absl::SimpleAtoi(item, &rank) || rank < 0)
    {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, " ", text, ": must be local ranks, as in 0,2"));
    }
    ranks.insert(rank);
  }
  return ranks;
}

absl::StatusOr<std::vector<int>> parse_signals(const std::string& text)
{
  std::vector<int> signals;
  for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipWhitespace()))
  {
    const std::optional<int> number = signal_number(std::string(item));
    if (!number)
    {
      return absl::InvalidArgumentError(absl::StrCat("--signals-to-handle: there is no signal '",
                                                     item,
                                                     "'; a list is SIGTERM,SIGINT,SIGHUP,SIGQUIT"));
    }
    if (*number == SIGKILL || *number == SIGSTOP || *number == SIGCHLD)
    {
      return absl::InvalidArgumentError(
          absl::StrCat("--signals-to-handle: ", signal_name(*number), " cannot be handled"));
    }
    signals.push_back(*number);
  }
  return signals;
}

// torchrun's backends know these; only the first two mean something here.
const std::vector<std::string>& rdzv_keys()
{
  static const std::vector<std::string> keys = {
      "join_timeout", "timeout",           "last_call_timeout", "close_timeout",
      "read_timeout", "heartbeat_timeout", "is_host",           "keep_alive_interval",
      "store_type",   "use_agent_store",   "use_libuv",         "keep_alive_max_attempt",
      "rank",         "protocol",          "ca_cert",           "ssl_cert",
      "ssl_cert_key", "etcd_prefix"};
  return keys;
}

absl::Status parse_rdzv_conf(const std::string& text, RunOptions& out)
{
  for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipWhitespace()))
  {
    const std::vector<std::string> pair = absl::StrSplit(item, absl::MaxSplits('=', 1));
    if (pair.size() != 2 || pair[0].empty())
    {
      return absl::InvalidArgumentError(
          absl::StrCat("--rdzv-conf ", text, ": '", item, "' is not key=value"));
    }
    const std::vector<std::string>& keys = rdzv_keys();
    if (std::find(keys.begin(), keys.end(), pair[0]) == keys.end())
    {
      return absl::InvalidArgumentError(absl::StrCat("--rdzv-conf ", item, ": no backend knows '",
                                                     pair[0], "'; did you mean '",
                                                     nearest_name(pair[0], keys), "'?"));
    }
    if (pair[0] != "join_timeout" && pair[0] != "timeout")
    {
      out.notices.push_back(
          absl::StrCat("--rdzv-conf ", pair[0],
                       ": not needed here, the coordinator adapts its own time limits"));
      continue;
    }
    double seconds = 0;
    if (!absl::SimpleAtod(pair[1], &seconds) || !(seconds > 0) || seconds > 1e6)
    {
      return absl::InvalidArgumentError(
          absl::StrCat("--rdzv-conf ", item, ": must be a number of seconds above 0"));
    }
    out.join_timeout = std::chrono::milliseconds(std::llround(seconds * 1000));
  }
  return absl::OkStatus();
}

absl::Status parse_endpoint(const std::string& text, int default_port, std::string& host, int& port)
{
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("--rdzv-endpoint ", text, ": ", why,
                                                   "; it is HOST:PORT, as in 10.0.0.1:29400"));
  };
  std::string port_text;
  const std::size_t colon = text.rfind(':');
  if (absl::StartsWith(text, "["))
  {
    const std::size_t close = text.find(']');
    if (close == std::string::npos) return bad("the bracket is not closed");
    host = text.substr(1, close - 1);
    if (close + 1 < text.size() && text[close + 1] != ':') return bad("no ':' after the bracket");
    if (close + 1 < text.size())
      port_text = text.substr(close + 2);
    else
      port = default_port;
    if (close + 1 == text.size()) return absl::OkStatus();
  }
  else
  {
    host = text.substr(0, colon);
    if (colon == std::string::npos)
    {
      port = default_port;
      return absl::OkStatus();
    }
    port_text = text.substr(colon + 1);
  }
  if (host.empty()) return bad("there is no host");
  if (!absl::SimpleAtoi(port_text, &port) || port < 0 || port > 65535)
    return bad("the port is not a number up to 65535");
  return absl::OkStatus();
}

absl::StatusOr<int> resolve_worker_count(const std::string& text, int cpus, int gpus)
{
  int count = 0;
  if (absl::SimpleAtoi(text, &count))
  {
    if (count >= 1 && count <= 4096) return count;
    return absl::InvalidArgumentError(
        absl::StrCat("--nproc-per-node ", text, ": must be between 1 and 4096"));
  }
  if (text == "cpu") return cpus;
  if (text == "auto") return gpus > 0 ? gpus : cpus;
  if (text == "gpu")
  {
    if (gpus > 0) return gpus;
    return absl::InvalidArgumentError(
        "--nproc-per-node gpu: this machine has no GPU that may be used; give a number, cpu or "
        "auto");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--nproc-per-node ", text, ": must be a number, auto, cpu or gpu"));
}

}  // namespace spillway
