// SPDX-License-Identifier: Apache-2.0
#include "left_out.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <set>

namespace spillway {
namespace {

constexpr std::size_t kMostExact = 16;

struct Graph
{
  std::vector<WorkerId> workers;  // ascending
  std::vector<WorkerPair> pairs;
  std::vector<bool> holds;
};

// Tries every subset; at most 2^16 of them. A higher bit is a younger worker, so that among
// equals the larger mask leaves out the younger ones.
std::vector<WorkerId> exact(const Graph& graph, std::size_t holders)
{
  const auto bit = [&](WorkerId worker) {
    const auto at = std::lower_bound(graph.workers.begin(), graph.workers.end(), worker);
    return std::uint32_t{1} << (at - graph.workers.begin());
  };
  std::vector<std::uint32_t> edges;
  for (const auto& [a, b] : graph.pairs) edges.push_back(bit(a) | bit(b));
  std::uint32_t holding = 0;
  for (std::size_t i = 0; i < graph.workers.size(); ++i)
    if (graph.holds[i]) holding |= std::uint32_t{1} << i;
  const auto cost = [&](std::uint32_t set) {
    return std::make_pair(std::popcount(set), std::popcount(set & holding));
  };
  std::uint32_t best = 0;
  bool found = false;
  for (std::uint32_t set = 0; set < std::uint32_t{1} << graph.workers.size(); ++set)
  {
    if (found && cost(set) > cost(best)) continue;
    if (static_cast<std::size_t>(std::popcount(set & holding)) >= std::max<std::size_t>(holders, 1))
      continue;
    const bool covers = std::all_of(edges.begin(), edges.end(),
                                    [&](std::uint32_t edge) { return (edge & set) != 0; });
    if (!covers) continue;
    best = set;
    found = true;
  }
  std::vector<WorkerId> out;
  for (std::size_t i = 0; i < graph.workers.size(); ++i)
    if ((best >> i & 1) != 0) out.push_back(graph.workers[i]);
  return out;
}

// Again and again the worker with most uncovered pairs, the younger of equals.
std::vector<WorkerId> by_degree(std::vector<WorkerPair> pairs,
                                const std::function<bool(WorkerId)>& is_holder, std::size_t holders)
{
  std::vector<WorkerId> out;
  while (!pairs.empty())
  {
    std::map<WorkerId, std::size_t> degree;
    for (const auto& [a, b] : pairs) ++degree[a], ++degree[b];
    WorkerId worst;
    std::size_t most = 0;
    for (const auto& [worker, count] : degree)
      if (count >= most && !(is_holder(worker) && holders <= 1)) worst = worker, most = count;
    if (is_holder(worst)) --holders;
    out.push_back(worst);
    std::erase_if(pairs,
                  [&](const WorkerPair& p) { return p.first == worst || p.second == worst; });
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

std::vector<WorkerId> smallest_left_out(const std::vector<WorkerPair>& pairs,
                                        const std::function<bool(WorkerId)>& is_holder,
                                        std::size_t holders)
{
  if (pairs.empty()) return {};
  Graph graph{.workers = {}, .pairs = pairs, .holds = {}};
  std::set<WorkerId> workers;
  for (const auto& [a, b] : pairs) workers.insert({a, b});
  graph.workers.assign(workers.begin(), workers.end());
  if (graph.workers.size() > kMostExact) return by_degree(pairs, is_holder, holders);
  for (WorkerId worker : graph.workers) graph.holds.push_back(is_holder(worker));
  return exact(graph, holders);
}

}  // namespace spillway
