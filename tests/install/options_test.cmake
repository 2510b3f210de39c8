# SPDX-License-Identifier: Apache-2.0
# Run by ctest: configures the project without wheels and reads what it says about its optional parts.
function(configure name expected_code pattern)
  execute_process(COMMAND ${CMAKE_COMMAND} -G Ninja -S ${SOURCE_DIR} -B ${WORK_DIR}/${name}
    -DCMAKE_CXX_COMPILER=${COMPILER} -DSPILLWAY_VENV=${WORK_DIR}/nothing -DSPILLWAY_BUILD_TESTS=OFF ${ARGN}
    RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " flat "${output}")  # CMake breaks the lines of an error
  if((code AND NOT expected_code) OR (expected_code AND NOT code) OR NOT flat MATCHES "${pattern}")
    message(FATAL_ERROR "${name}: ended with ${code}, wanted '${pattern}' in:\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
configure(auto 0 "TORCH off no libtorch wheel in [^ ]*/nothing")
configure(off 0 "TORCH off switched off at build time" -DSPILLWAY_WITH_TORCH=OFF)
configure(without_ucx 0 "UCX off switched off at build time" -DSPILLWAY_WITH_UCX=OFF)
# What stands in for it is compiled and linked like the real one.
execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK_DIR}/without_ucx --target spillway_comm -j 2
  COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
configure(on 1 "SPILLWAY_WITH_TORCH=ON, but no libtorch wheel in" -DSPILLWAY_WITH_TORCH=ON)
configure(typo 1 "SPILLWAY_WITH_NCCL must be AUTO, ON or OFF, not 'MAYBE'" -DSPILLWAY_WITH_NCCL=MAYBE)
configure(sanitizer 1 "SPILLWAY_SANITIZER must be address, thread or empty, not 'memory'" -DSPILLWAY_SANITIZER=memory)
