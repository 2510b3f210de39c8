// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "rpc/membership.pb.h"
#include "spillway/coordinator/messages.h"

// Plain messages to their wire form and back. What comes from the wire is not trusted: a missing
// part or an unknown value is kInvalidArgument, and `out` is then of no use.
namespace spillway::wire {

void to_wire(const spillway::MemberInfo& in, MemberInfo* out);
void to_wire(const spillway::MemberListUpdate& in, MemberListUpdate* out);
void to_wire(const spillway::EpochName& in, EpochName* out);
void to_wire(const spillway::StateName& in, StateName* out);
void to_wire(const spillway::LinkFault& in, LinkFault* out);
void to_wire(const spillway::MemberStatus& in, MemberStatus* out);
void to_wire(const spillway::ProbeResult& in, ProbeResult* out);
void to_wire(const spillway::ProgressReport& in, ProgressReport* out);
void to_wire(const spillway::ControlMessage& in, ControlMessage* out);

absl::Status from_wire(const MemberInfo& in, spillway::MemberInfo* out);
absl::Status from_wire(const MemberListUpdate& in, spillway::MemberListUpdate* out);
absl::Status from_wire(const EpochName& in, spillway::EpochName* out);
absl::Status from_wire(const StateName& in, spillway::StateName* out);
absl::Status from_wire(const LinkFault& in, spillway::LinkFault* out);
absl::Status from_wire(const MemberStatus& in, spillway::MemberStatus* out);
absl::Status from_wire(const ProbeResult& in, spillway::ProbeResult* out);
absl::Status from_wire(const ProgressReport& in, spillway::ProgressReport* out);
absl::Status from_wire(const ControlMessage& in, spillway::ControlMessage* out);

EndReason to_wire(spillway::EndReason in);
absl::Status from_wire(EndReason in, spillway::EndReason* out);

absl::Status missing(const char* what);
absl::Status unknown_value(const char* what, int value);

// Lists of messages, of ids.
template <typename In, typename Out>
void list_to_wire(const std::vector<In>& in, Out* out)
{
  out->Reserve(static_cast<int>(in.size()));
  for (const In& item : in) to_wire(item, out->Add());
}
template <typename In, typename Out>
absl::Status list_from_wire(const In& in, std::vector<Out>* out)
{
  out->clear();
  out->reserve(static_cast<std::size_t>(in.size()));
  for (const auto& item : in)
  {
    absl::Status status = from_wire(item, &out->emplace_back());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}
template <typename Id, typename Out>
void ids_to_wire(const std::vector<Id>& in, Out* out)
{
  out->Reserve(static_cast<int>(in.size()));
  for (const Id id : in) out->Add(id.value());
}
template <typename In, typename Id>
void ids_from_wire(const In& in, std::vector<Id>* out)
{
  out->clear();
  out->reserve(static_cast<std::size_t>(in.size()));
  for (const auto value : in) out->push_back(Id(value));
}

}  // namespace spillway::wire
