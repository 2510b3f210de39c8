// SPDX-License-Identifier: Apache-2.0
// What the coordinator tells members.
#include <type_traits>

#include "rpc/membership_wire.h"
#include "spillway/base/status.h"

namespace spillway::wire {
namespace {

void to_wire(const spillway::Abort& in, Abort* out)
{
  const auto& [name] = in;
  wire::to_wire(name, out->mutable_name());
}

absl::Status from_wire(const Abort& in, spillway::Abort* out)
{
  if (!in.has_name()) return missing("Abort.name");
  return wire::from_wire(in.name(), &out->name);
}

void to_wire(const spillway::EpochAnnouncement& in, EpochAnnouncement* out)
{
  const auto& [name, members, copiers, base, initial, last_step, cut_hash] = in;
  wire::to_wire(name, out->mutable_name());
  wire::to_wire(members, out->mutable_members());
  const auto& [lists_holders, workers] = copiers;
  out->mutable_copiers()->set_lists_holders(lists_holders);
  ids_to_wire(workers, out->mutable_copiers()->mutable_workers());
  wire::to_wire(base, out->mutable_base());
  out->set_initial(initial);
  out->set_last_step(last_step.value());
  out->set_cut_hash(cut_hash);
}

absl::Status from_wire(const EpochAnnouncement& in, spillway::EpochAnnouncement* out)
{
  if (!in.has_name()) return missing("EpochAnnouncement.name");
  if (!in.has_members()) return missing("EpochAnnouncement.members");
  if (!in.has_copiers()) return missing("EpochAnnouncement.copiers");
  if (!in.has_base()) return missing("EpochAnnouncement.base");
  SPILLWAY_RETURN_IF_ERROR(wire::from_wire(in.name(), &out->name));
  SPILLWAY_RETURN_IF_ERROR(wire::from_wire(in.members(), &out->members));
  out->copiers.lists_holders = in.copiers().lists_holders();
  ids_from_wire(in.copiers().workers(), &out->copiers.workers);
  SPILLWAY_RETURN_IF_ERROR(wire::from_wire(in.base(), &out->base));
  out->initial = in.initial();
  out->last_step = StepId(in.last_step());
  out->cut_hash = in.cut_hash();
  return absl::OkStatus();
}

void to_wire(const spillway::PendingAnnouncement& in, PendingAnnouncement* out)
{
  const auto& [name, members, expected_joiners] = in;
  wire::to_wire(name, out->mutable_name());
  wire::to_wire(members, out->mutable_members());
  ids_to_wire(expected_joiners, out->mutable_expected_joiners());
}

absl::Status from_wire(const PendingAnnouncement& in, spillway::PendingAnnouncement* out)
{
  if (!in.has_name()) return missing("PendingAnnouncement.name");
  if (!in.has_members()) return missing("PendingAnnouncement.members");
  SPILLWAY_RETURN_IF_ERROR(wire::from_wire(in.name(), &out->name));
  SPILLWAY_RETURN_IF_ERROR(wire::from_wire(in.members(), &out->members));
  ids_from_wire(in.expected_joiners(), &out->expected_joiners);
  return absl::OkStatus();
}

void to_wire(const spillway::ProbeRequest& in, ProbeRequest* out)
{
  const auto& [name, peer] = in;
  wire::to_wire(name, out->mutable_name());
  wire::to_wire(peer, out->mutable_peer());
}

absl::Status from_wire(const ProbeRequest& in, spillway::ProbeRequest* out)
{
  if (!in.has_name()) return missing("ProbeRequest.name");
  if (!in.has_peer()) return missing("ProbeRequest.peer");
  SPILLWAY_RETURN_IF_ERROR(wire::from_wire(in.name(), &out->name));
  return wire::from_wire(in.peer(), &out->peer);
}

void to_wire(const spillway::Release& in, Release* out)
{
  const auto& [name, reason, detail] = in;
  wire::to_wire(name, out->mutable_name());
  out->set_reason(wire::to_wire(reason));
  out->set_detail(detail);
}

absl::Status from_wire(const Release& in, spillway::Release* out)
{
  if (!in.has_name()) return missing("Release.name");
  SPILLWAY_RETURN_IF_ERROR(wire::from_wire(in.name(), &out->name));
  SPILLWAY_RETURN_IF_ERROR(wire::from_wire(in.reason(), &out->reason));
  out->detail = in.detail();
  return absl::OkStatus();
}

}  // namespace

void to_wire(const spillway::ControlMessage& in, ControlMessage* out)
{
  static_assert(std::variant_size_v<spillway::ControlMessage> == 5);
  if (const auto* abort = std::get_if<spillway::Abort>(&in))
    to_wire(*abort, out->mutable_abort());
  else if (const auto* epoch = std::get_if<spillway::EpochAnnouncement>(&in))
    to_wire(*epoch, out->mutable_epoch());
  else if (const auto* pending = std::get_if<spillway::PendingAnnouncement>(&in))
    to_wire(*pending, out->mutable_pending());
  else if (const auto* probe = std::get_if<spillway::ProbeRequest>(&in))
    to_wire(*probe, out->mutable_probe());
  else
    to_wire(std::get<spillway::Release>(in), out->mutable_release());
}

absl::Status from_wire(const ControlMessage& in, spillway::ControlMessage* out)
{
  switch (in.kind_case())
  {
    case ControlMessage::kAbort:
      return from_wire(in.abort(), &out->emplace<spillway::Abort>());
    case ControlMessage::kEpoch:
      return from_wire(in.epoch(), &out->emplace<spillway::EpochAnnouncement>());
    case ControlMessage::kPending:
      return from_wire(in.pending(), &out->emplace<spillway::PendingAnnouncement>());
    case ControlMessage::kProbe:
      return from_wire(in.probe(), &out->emplace<spillway::ProbeRequest>());
    case ControlMessage::kRelease:
      return from_wire(in.release(), &out->emplace<spillway::Release>());
    case ControlMessage::KIND_NOT_SET:
      break;
  }
  return missing("the kind of a ControlMessage");
}

}  // namespace spillway::wire
