// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/worker_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace spillway {
namespace {

std::map<std::string, std::string> variables(const std::vector<std::string>& inherited,
                                             const RunOptions& options, const NodePlacement& node,
                                             const WorkerIdentity& worker)
{
  std::map<std::string, std::string> out;
  for (const std::string& entry : worker_environment(inherited, options, node, worker))
    out[entry.substr(0, entry.find('='))] = entry.substr(entry.find('=') + 1);
  return out;
}

TEST(WorkerEnvironment, TorchrunsContract)
{
  RunOptions options;
  options.role = "trainer";
  WorkerIdentity worker;
  worker.local_rank = 1;
  worker.restart_count = 2;
  worker.max_restarts = 5;
  worker.master_addr = "10.0.0.1";
  worker.master_port = 4321;
  worker.job = "j";
  worker.error_file = "/logs/error.json";
  worker.agent_socket = "/run/agent";
  auto seen = variables({"HOME=/h", "RANK=77"}, options, equal_placement(2, 3, 4), worker);
  const std::map<std::string, std::string> expected = {
      {"HOME", "/h"},
      {"RANK", "9"},
      {"LOCAL_RANK", "1"},
      {"GROUP_RANK", "2"},
      {"ROLE_RANK", "9"},
      {"ROLE_NAME", "trainer"},
      {"LOCAL_WORLD_SIZE", "4"},
      {"WORLD_SIZE", "12"},
      {"GROUP_WORLD_SIZE", "3"},
      {"ROLE_WORLD_SIZE", "12"},
      {"MASTER_ADDR", "10.0.0.1"},
      {"MASTER_PORT", "4321"},
      {"TORCHELASTIC_RESTART_COUNT", "2"},
      {"TORCHELASTIC_MAX_RESTARTS", "5"},
      {"TORCHELASTIC_RUN_ID", "j"},
      {"TORCHELASTIC_USE_AGENT_STORE", "False"},
      {"TORCHELASTIC_ERROR_FILE", "/logs/error.json"},
      {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"},
      {"OMP_NUM_THREADS", "1"},
      {"SPILLWAY_JOB", "j"},
      {"SPILLWAY_SLOT", "1"},
      {"SPILLWAY_RESTART_COUNT", "2"},
      {"SPILLWAY_AGENT_SOCKET", "/run/agent"},
  };
  EXPECT_EQ(seen, expected);
}

TEST(WorkerEnvironment, WhatTheUserSetStays)
{
  const auto seen = variables({"OMP_NUM_THREADS=6", "TORCH_NCCL_ASYNC_ERROR_HANDLING=3"},
                              RunOptions(), equal_placement(0, 1, 2), WorkerIdentity());
  EXPECT_EQ(seen.at("OMP_NUM_THREADS"), "6");
  EXPECT_EQ(seen.at("TORCH_NCCL_ASYNC_ERROR_HANDLING"), "3");
}

TEST(WorkerEnvironment, OneWorkerKeepsAllThreads)
{
  const auto seen = variables({}, RunOptions(), equal_placement(0, 1, 1), WorkerIdentity());
  EXPECT_FALSE(seen.contains("OMP_NUM_THREADS"));
}

TEST(WorkerEnvironment, VirtualLocalRank)
{
  RunOptions options;
  options.virtual_local_rank = true;
  WorkerIdentity worker;
  worker.local_rank = 1;
  const auto seen =
      variables({"CUDA_VISIBLE_DEVICES=4,6"}, options, equal_placement(0, 1, 2), worker);
  EXPECT_EQ(seen.at("CUDA_VISIBLE_DEVICES"), "6");
  EXPECT_EQ(seen.at("LOCAL_RANK"), "0");
  EXPECT_EQ(seen.at("RANK"), "1");
}

TEST(WorkerEnvironment, AnAgentInsideAnAgentIsNotMistaken)
{
  const auto seen = variables({"SPILLWAY_AGENT_SOCKET=/outer"}, RunOptions(),
                              equal_placement(0, 1, 1), WorkerIdentity());
  EXPECT_FALSE(seen.contains("SPILLWAY_AGENT_SOCKET"));
}

}  // namespace
}  // namespace spillway
