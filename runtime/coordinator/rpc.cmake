# SPDX-License-Identifier: Apache-2.0
# What speaks gRPC. The headers do not show it.
set(headers agent_client agent_relay server)
list(TRANSFORM headers PREPEND include/spillway/coordinator/)
list(TRANSFORM headers APPEND .h)

# rpc/NAME.proto becomes <build>/wire/rpc/NAME.pb.{h,cc}; services.proto also NAME.grpc.pb.{h,cc}.
set(wire_folder "${CMAKE_CURRENT_BINARY_DIR}/wire")
file(MAKE_DIRECTORY "${wire_folder}")
get_target_property(SPILLWAY_PROTOC protobuf::protoc LOCATION)
get_target_property(SPILLWAY_GRPC_PLUGIN gRPC::grpc_cpp_plugin LOCATION)
set(protos rpc/membership.proto rpc/node.proto rpc/services.proto)
list(TRANSFORM protos PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
set(wire_sources
  "${wire_folder}/rpc/membership.pb.cc" "${wire_folder}/rpc/node.pb.cc" "${wire_folder}/rpc/services.pb.cc"
  "${wire_folder}/rpc/services.grpc.pb.cc")
set(wire_headers ${wire_sources})
list(TRANSFORM wire_headers REPLACE "cc$" "h")
add_custom_command(OUTPUT ${wire_sources} ${wire_headers}
  COMMAND "${SPILLWAY_PROTOC}" "-I${CMAKE_CURRENT_SOURCE_DIR}" "--cpp_out=${wire_folder}" ${protos}
  COMMAND "${SPILLWAY_PROTOC}" "-I${CMAKE_CURRENT_SOURCE_DIR}" "--grpc_out=${wire_folder}"
    "--plugin=protoc-gen-grpc=${SPILLWAY_GRPC_PLUGIN}" "${CMAKE_CURRENT_SOURCE_DIR}/rpc/services.proto"
  DEPENDS ${protos} VERBATIM)
set_source_files_properties(${wire_sources} PROPERTIES COMPILE_OPTIONS -w)  # not ours to warn about

spillway_library(NAME coordinator_rpc
  SOURCES
    rpc/address.cc
    rpc/agent_client.cc
    rpc/agent_relay.cc
    rpc/channel.cc
    rpc/control_client.cc
    rpc/control_wire.cc
    rpc/coordinator_calls.cc
    rpc/door.cc
    rpc/hello_wire.cc
    rpc/membership_wire.cc
    rpc/node_wire.cc
    rpc/report_wire.cc
    rpc/server.cc
    rpc/worker_link.cc
    ${wire_sources}
  PUBLIC_HEADERS ${headers}
  PUBLIC_DEPS spillway::coordinator_service
  PRIVATE_DEPS gRPC::grpc++ protobuf::libprotobuf)
target_include_directories(spillway_coordinator_rpc SYSTEM PRIVATE "${wire_folder}")
