// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

// The subcommands of `spillway`. Each takes the arguments behind its name and returns the exit
// code of the process.
namespace spillway {

int run_command(const std::vector<std::string>& arguments);
int coordinator_command(const std::vector<std::string>& arguments);
int status_command(const std::vector<std::string>& arguments);
int explain_command(const std::vector<std::string>& arguments);
int adopt_command(const std::vector<std::string>& arguments);
int abandon_command(const std::vector<std::string>& arguments);
int codec_command(const std::vector<std::string>& arguments);

}  // namespace spillway
