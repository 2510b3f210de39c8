// SPDX-License-Identifier: Apache-2.0
#include "holds.h"

#include <algorithm>

namespace spillway::sim {

Happening happening(int from, int to, const PeerMessage& message)
{
  using Kind = PeerMessage::Kind;
  const Held what = message.kind == Kind::kBucket ? Held::kBuckets
                    : message.kind == Kind::kVote ? Held::kVotes
                                                  : Held::kBases;
  return {what, from, to, message.number, message.step};
}

std::optional<Happening> happening(int to, const DownMessage& message)
{
  const auto* control = std::get_if<ControlMessage>(&message);
  if (control == nullptr || std::holds_alternative<ProbeRequest>(*control)) return std::nullopt;
  const Held what = std::holds_alternative<Abort>(*control)               ? Held::kAborts
                    : std::holds_alternative<EpochAnnouncement>(*control) ? Held::kEpochs
                    : std::holds_alternative<Release>(*control)           ? Held::kReleases
                                                                          : Held::kPlans;
  const Number number = std::visit([](const auto& m) { return m.name.job_epoch; }, *control);
  return Happening{what, kCoordinator, to, number, StepId()};
}

std::optional<Happening> happening_up(int from, const UpMessage& message)
{
  if (!std::holds_alternative<MemberStatus>(message)) return std::nullopt;
  return Happening{Held::kStatuses, from, kCoordinator, Number(), StepId()};
}

bool Holds::fits(const Happening& pattern, const Happening& what)
{
  return pattern.what == what.what && (pattern.from == kAnybody || pattern.from == what.from) &&
         (pattern.to == kAnybody || pattern.to == what.to) &&
         (!pattern.number || pattern.number == what.number) &&
         (!pattern.step || pattern.step == what.step);
}

bool Holds::holds(const Happening& what) const
{
  return std::any_of(patterns_.begin(), patterns_.end(),
                     [&](const Happening& pattern) { return fits(pattern, what); });
}

bool Holds::remove(const Happening& pattern)
{
  return std::erase_if(patterns_, [&](const Happening& known) {
           return known.what == pattern.what && known.from == pattern.from &&
                  known.to == pattern.to && known.number == pattern.number &&
                  known.step == pattern.step;
         }) > 0;
}

}  // namespace spillway::sim
