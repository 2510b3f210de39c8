// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "rpc/membership_wire.h"
#include "rpc/node.pb.h"
#include "spillway/coordinator/node_messages.h"

// As membership_wire.h, for hello.h and node_messages.h.
namespace spillway::wire {

// A status as data; its code is checked on the way in. OK is a value like any other.
void to_wire(const absl::Status& in, Status* out);
absl::Status from_wire(const Status& in, absl::Status* out);

void to_wire(const coordinator::WorkerHello& in, WorkerHello* out);
void to_wire(const coordinator::Welcome& in, Welcome* out);
void to_wire(const coordinator::Telemetry& in, Telemetry* out);
void to_wire(const coordinator::NodeHello& in, NodeHello* out);
void to_wire(const coordinator::NodeWelcome& in, NodeWelcome* out);
void to_wire(const coordinator::Rendezvous& in, Rendezvous* out);
void to_wire(const coordinator::ExitReport& in, ExitReport* out);

absl::Status from_wire(const WorkerHello& in, coordinator::WorkerHello* out);
absl::Status from_wire(const Welcome& in, coordinator::Welcome* out);
absl::Status from_wire(const Telemetry& in, coordinator::Telemetry* out);
absl::Status from_wire(const NodeHello& in, coordinator::NodeHello* out);
absl::Status from_wire(const NodeWelcome& in, coordinator::NodeWelcome* out);
absl::Status from_wire(const Rendezvous& in, coordinator::Rendezvous* out);
absl::Status from_wire(const ExitReport& in, coordinator::ExitReport* out);

void to_wire(const coordinator::WorkerMessage& in, WorkerMessage* out);
void to_wire(const coordinator::WorkerOrder& in, WorkerOrder* out);
void to_wire(const coordinator::NodeMessage& in, NodeMessage* out);
void to_wire(const coordinator::NodeOrder& in, NodeOrder* out);

absl::Status from_wire(const WorkerMessage& in, coordinator::WorkerMessage* out);
absl::Status from_wire(const WorkerOrder& in, coordinator::WorkerOrder* out);
absl::Status from_wire(const NodeMessage& in, coordinator::NodeMessage* out);
absl::Status from_wire(const NodeOrder& in, coordinator::NodeOrder* out);

}  // namespace spillway::wire
