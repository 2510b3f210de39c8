# SPDX-License-Identifier: Apache-2.0
# find_package(Spillway COMPONENTS …): every library is a component with an export file of its own. What
# each needs, of ours and of others, is read from what it links, so nothing is listed twice.
include(CMakePackageConfigHelpers)
set(SPILLWAY_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Spillway)

# The words that SpillwayConfig.cmake.in knows how to find, for one linked item.
function(spillway_package_of item result)
  string(REGEX REPLACE "::.*" "" package "${item}")
  if(item MATCHES "^PkgConfig::(.+)")
    set(package "pkgconfig:${CMAKE_MATCH_1}")
  elseif(item MATCHES "^spillway::(ucx|torch)$")
    set(package "${item}")
  elseif(package STREQUAL "protobuf")
    set(package Protobuf)
  endif()
  set(${result} "${package}" PARENT_SCOPE)
endfunction()

set(SPILLWAY_COMPONENT_LINES "")
foreach(name ${SPILLWAY_LIBRARIES})
  get_target_property(items spillway_${name} LINK_LIBRARIES)
  set(needs "")
  set(packages "")
  foreach(item ${items})
    string(REGEX REPLACE "^spillway::" "" own "${item}")
    if(own IN_LIST SPILLWAY_LIBRARIES)
      list(APPEND needs ${own})
    elseif(item MATCHES "::")
      spillway_package_of(${item} package)
      list(APPEND packages ${package})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES packages)
  string(APPEND SPILLWAY_COMPONENT_LINES
    "set(Spillway_${name}_needs ${needs})\nset(Spillway_${name}_packages ${packages})\n")
  install(EXPORT Spillway-${name} COMPONENT ${name} FILE Spillway-${name}.cmake NAMESPACE spillway::
    DESTINATION ${SPILLWAY_PACKAGE_DIR})
endforeach()

configure_package_config_file(cmake/SpillwayConfig.cmake.in ${PROJECT_BINARY_DIR}/SpillwayConfig.cmake
  INSTALL_DESTINATION ${SPILLWAY_PACKAGE_DIR} NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/SpillwayConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/SpillwayConfig.cmake ${PROJECT_BINARY_DIR}/SpillwayConfigVersion.cmake
  cmake/SpillwayUcx.cmake cmake/SpillwayTorch.cmake COMPONENT package DESTINATION ${SPILLWAY_PACKAGE_DIR})
install(FILES LICENSE COMPONENT package DESTINATION ${CMAKE_INSTALL_DOCDIR})
