// SPDX-License-Identifier: Apache-2.0
#include "setup.h"

#include <array>

#include "absl/strings/str_cat.h"

namespace spillway::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

template <typename T, std::size_t N>
T one_of(Rng& rng, std::array<T, N> choices)
{
  return choices[static_cast<std::size_t>(rng.below(N))];
}

void draw_times(Rng& rng, Setup& setup)
{
  MembershipConfig& m = setup.membership;
  m.last_call = milliseconds(20 + rng.below(40));
  m.silence_timeout = milliseconds(one_of<int>(rng, std::array{20, 60, 200}));
  m.reconnect_grace = 5 * m.silence_timeout;
  m.join_timeout = seconds(20);
  m.progress_floor = seconds(5);
  m.joiners_floor = seconds(10);
  m.nobody_floor = milliseconds(50);
  m.probe_interval = milliseconds(one_of<int>(rng, std::array{20, 100}));
  m.probe_interval_max = seconds(2);
  // Short leases run out within the run; a long one means that only agents and operators tell.
  m.lease = rng.chance(0.5) ? Duration(milliseconds(600)) : Duration(minutes(11));
  // Nothing may run out without a fault, however slow the lanes are.
  if (setup.kind != Setup::Kind::kFaults)
  {
    m.silence_timeout = seconds(30);
    m.reconnect_grace = seconds(60);
    m.lease = minutes(11);
  }
  setup.member_lease = m.lease * 3 / 4;
  setup.heartbeat = std::min<Duration>(setup.member_lease / 5, seconds(1));
}

}  // namespace

Setup draw_setup(std::uint64_t seed, const ProtocolRules& rules)
{
  Rng rng(philox_u64(seed, 1));
  Setup setup;
  setup.seed = seed;
  setup.rules = rules;
  const double kind = rng.unit();
  setup.kind = kind < 0.12  ? Setup::Kind::kQuiet
               : kind < 0.2 ? Setup::Kind::kRestarts
                            : Setup::Kind::kFaults;
  draw_times(rng, setup);
  setup.first_processes = one_of<int>(rng, std::array{2, 3, 3, 4});
  // Below the minimum members hold, which aborts a step; a quiet run does not go there.
  const bool low = setup.kind != Setup::Kind::kFaults || rng.chance(0.75);
  setup.membership.min_members = low ? 1 : 2;
  setup.membership.max_members =
      static_cast<std::size_t>(one_of<int>(rng, std::array{3, 4, 6, 6, 6}));
  setup.most_processes = 6;
  setup.most_started = 14;
  setup.buckets = one_of<int>(rng, std::array{1, 2});
  setup.ranges = static_cast<std::size_t>(one_of<int>(rng, std::array{1, 2, 3}));
  if (rng.chance(0.2)) setup.fixed_last_step = StepId(1 + rng.below(8));
  setup.faults = one_of<int>(rng, std::array{1, 2, 4, 6, 8, 12, 16});
  setup.trouble = milliseconds(one_of<int>(rng, std::array{40, 100, 200, 400}));
  setup.slow_lanes = rng.chance(0.85);
  setup.reorders = rng.chance(0.3);
  setup.duplicates = rng.chance(0.3);
  setup.lasting_pair = setup.kind == Setup::Kind::kFaults && rng.chance(0.25);
  setup.no_replacements = setup.membership.min_members > 1 && rng.chance(0.2);
  return setup;
}

std::string describe(const Setup& setup)
{
  constexpr std::array<const char*, 3> kKinds = {"quiet", "restarts", "faults"};
  return absl::StrCat(kKinds[static_cast<std::size_t>(setup.kind)], ", ", setup.first_processes,
                      " processes, ", setup.membership.min_members, " to ",
                      setup.membership.max_members, " members, ", setup.faults, " events, lease ",
                      setup.membership.lease / milliseconds(1), " ms, silence ",
                      setup.membership.silence_timeout / milliseconds(1), " ms",
                      setup.lasting_pair ? ", lasting bad pair" : "",
                      setup.fixed_last_step ? ", fixed last step" : "");
}

}  // namespace spillway::sim
