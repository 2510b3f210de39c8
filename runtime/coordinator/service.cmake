# SPDX-License-Identifier: Apache-2.0
# What surrounds the pure core: store, admission, runner and the agent's session, without gRPC.
set(headers admission coordinator hello in_process_link job_runner link node_messages node_session report store)
list(TRANSFORM headers PREPEND include/spillway/coordinator/)
list(TRANSFORM headers APPEND .h)
spillway_library(NAME coordinator_service
  SOURCES
    service/admission.cc
    service/coordinator.cc
    service/in_process_link.cc
    service/in_process_worker.cc
    service/job_file.cc
    service/job_report.cc
    service/job_rounds.cc
    service/job_runner.cc
    service/job_state.cc
    service/job_workers.cc
    service/node_session.cc
    service/node_uplink.cc
    service/node_workers.cc
    service/report_json.cc
    service/report_text.cc
    store/store_memory.cc
    store/store_sqlite.cc
  PUBLIC_HEADERS ${headers}
  PUBLIC_DEPS spillway::coordinator
  PRIVATE_DEPS PkgConfig::sqlite3)
