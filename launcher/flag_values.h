// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/launcher/run_options.h"

// Readers of the values that have a small grammar of their own. All errors are kInvalidArgument
// and name the flag, what was given and what would be right.
namespace spillway {

absl::Status parse_node_range(const std::string& text, RunOptions& out);
absl::StatusOr<StreamChoice> parse_streams(const std::string& flag, const std::string& text);
absl::StatusOr<std::set<int>> parse_ranks(const std::string& flag, const std::string& text);
absl::StatusOr<std::vector<int>> parse_signals(const std::string& text);
absl::Status parse_rdzv_conf(const std::string& text, RunOptions& out);
// HOST, HOST:PORT or [V6]:PORT.
absl::Status parse_endpoint(const std::string& text, int default_port, std::string& host,
                            int& port);

}  // namespace spillway
