# SPDX-License-Identifier: Apache-2.0
# How a process that `spillway run` started comes by its engine's services. Apart from the engine, so that whoever
# brings other services needs no gRPC.
spillway_library(NAME engine_process
  SOURCES environment.cc
  PUBLIC_HEADERS include/spillway/engine/environment.h
  PUBLIC_DEPS spillway::engine absl::status absl::statusor
  PRIVATE_DEPS spillway::coordinator_rpc absl::strings)
