# SPDX-License-Identifier: Apache-2.0
# The pure core: rules, messages, membership. No third-party library but abseil.
set(core_headers cut job_record member_list membership messages rules)
list(TRANSFORM core_headers PREPEND include/spillway/coordinator/)
list(TRANSFORM core_headers APPEND .h)
spillway_library(NAME coordinator
  SOURCES
    cut.cc
    formation.cc
    job_record.cc
    left_out.cc
    member_list.cc
    membership.cc
    membership_adopt.cc
    membership_change.cc
    membership_explain.cc
    membership_send.cc
    membership_watch.cc
    membership_workers.cc
    messages.cc
    rules.cc
  PUBLIC_HEADERS ${core_headers}
  PUBLIC_DEPS spillway::base)
