# SPDX-License-Identifier: Apache-2.0
# The member's pure core, apart from the engine so that the simulator needs nothing else.
spillway_library(NAME member
  SOURCES
    member.cc
    member_control.cc
    member_join.cc
    member_step.cc
  PUBLIC_HEADERS include/spillway/engine/member.h
  PUBLIC_DEPS spillway::base spillway::coordinator)
