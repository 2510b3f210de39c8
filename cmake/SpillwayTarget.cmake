# SPDX-License-Identifier: Apache-2.0
# The two ways a target comes into being, so that warnings, sanitizers, the header check, installation
# and the list of tests are the same everywhere.
find_program(SPILLWAY_CCACHE ccache)
if(SPILLWAY_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${SPILLWAY_CCACHE}")
  set(CMAKE_C_COMPILER_LAUNCHER "${SPILLWAY_CCACHE}")
endif()
set(SPILLWAY_LIBRARIES "" CACHE INTERNAL "")  # names in the order of creation, for SpillwayInstall

# The two sanitized presets put their name before each test's, so that one ctest run can hold them all.
set(SPILLWAY_TEST_PREFIX "")
set(SPILLWAY_TEST_ENVIRONMENT "")
if(SPILLWAY_SANITIZER STREQUAL "address")
  set(SPILLWAY_TEST_PREFIX "asan.")
  set(SPILLWAY_TEST_ENVIRONMENT "UBSAN_OPTIONS=print_stacktrace=1"
    "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/suppressions/lsan.txt:print_suppressions=0")
elseif(SPILLWAY_SANITIZER STREQUAL "thread")
  set(SPILLWAY_TEST_PREFIX "tsan.")
  # UCX, which is not instrumented, else takes its locks in threads that the sanitizer has ended already.
  set(SPILLWAY_TEST_ENVIRONMENT "UCX_MEM_EVENTS=n"
    "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/suppressions/tsan.txt:halt_on_error=1:second_deadlock_stack=1")
elseif(SPILLWAY_SANITIZER)
  message(FATAL_ERROR "SPILLWAY_SANITIZER must be address, thread or empty, not '${SPILLWAY_SANITIZER}'")
endif()

function(spillway_compile_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion)
  if(SPILLWAY_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  # Same bits on every machine: no contraction of a*b+c behind our back.
  target_compile_options(${target} PRIVATE -ffp-contract=off -fno-omit-frame-pointer)
  if(SPILLWAY_SANITIZER STREQUAL "address")
    target_compile_options(${target} PUBLIC -fsanitize=address,undefined -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=address,undefined)
  elseif(SPILLWAY_SANITIZER STREQUAL "thread")
    target_compile_options(${target} PUBLIC -fsanitize=thread -Wno-tsan)
    target_link_options(${target} PUBLIC -fsanitize=thread)
  endif()
endfunction()

# spillway_library(NAME base SOURCES … PUBLIC_HEADERS include/spillway/base/x.h … PUBLIC_DEPS … PRIVATE_DEPS …)
# makes spillway_base, alias spillway::base, with include/ as its public include folder.
function(spillway_library)
  cmake_parse_arguments(arg "" "NAME" "SOURCES;PUBLIC_HEADERS;PUBLIC_DEPS;PRIVATE_DEPS" ${ARGN})
  set(target spillway_${arg_NAME})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(spillway::${arg_NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${arg_NAME})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${arg_PUBLIC_HEADERS})
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  set_target_properties(${target} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  target_link_libraries(${target} PUBLIC ${arg_PUBLIC_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  spillway_compile_options(${target})
  # One export file per library: who asks for `base` needs nothing of what `train` depends on.
  install(TARGETS ${target} EXPORT Spillway-${arg_NAME} COMPONENT ${arg_NAME}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  set(SPILLWAY_LIBRARIES ${SPILLWAY_LIBRARIES} ${arg_NAME} CACHE INTERNAL "")
endfunction()

# Builds every program that the tests of this preset need, and nothing else.
add_custom_target(spillway_tests)

# spillway_test(NAME base_rng_test LABEL unit SOURCES … DEPS … [TIMEOUT s] [ENVIRONMENT …] [ARGS …]
#               [PROGRAMS targets that it starts] [NOT_UNDER address thread])
# makes a GoogleTest program and one ctest entry with the label. Tests of several processes get both
# cores for themselves. Under the thread sanitizer run unit and conformance tests; NOT_UNDER takes out
# those of code that it cannot see into (gRPC, UCX).
function(spillway_test)
  cmake_parse_arguments(arg "" "NAME;LABEL;TIMEOUT" "SOURCES;DEPS;ENVIRONMENT;ARGS;PROGRAMS;NOT_UNDER" ${ARGN})
  add_executable(${arg_NAME} EXCLUDE_FROM_ALL ${arg_SOURCES})
  target_link_libraries(${arg_NAME} PRIVATE ${arg_DEPS} GTest::gmock GTest::gtest GTest::gtest_main)
  spillway_compile_options(${arg_NAME})
  if(SPILLWAY_SANITIZER STREQUAL "thread" AND NOT arg_LABEL MATCHES "^(unit|conformance)$")
    return()
  endif()
  if(SPILLWAY_SANITIZER AND SPILLWAY_SANITIZER IN_LIST arg_NOT_UNDER)
    return()
  endif()
  set_target_properties(${arg_NAME} PROPERTIES EXCLUDE_FROM_ALL FALSE)
  add_dependencies(spillway_tests ${arg_NAME} ${arg_PROGRAMS})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set(name ${SPILLWAY_TEST_PREFIX}${arg_NAME})
  add_test(NAME ${name} COMMAND ${arg_NAME} ${arg_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABEL}" TIMEOUT ${arg_TIMEOUT}
    ENVIRONMENT "${arg_ENVIRONMENT};${SPILLWAY_TEST_ENVIRONMENT}")
  if(arg_LABEL MATCHES "^(multiproc|e2e)$")
    set_tests_properties(${name} PROPERTIES PROCESSORS 2)
  endif()
endfunction()
