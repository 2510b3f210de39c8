# SPDX-License-Identifier: Apache-2.0
# The CUDA toolkit 13, from the system or from the wheels. No part of this version uses it yet: a GPU
# build of the same sources needs no other options than this one.
file(GLOB SPILLWAY_CUDA_HINTS "${SPILLWAY_VENV}/lib/python3*/site-packages/nvidia/cu13")
find_program(SPILLWAY_NVCC nvcc HINTS ${CUDAToolkit_ROOT} /usr/local/cuda ${SPILLWAY_CUDA_HINTS} PATH_SUFFIXES bin)
set(SPILLWAY_CUDA_FOUND FALSE)
set(SPILLWAY_CUDA_DETAIL "no nvcc on the path, in /usr/local/cuda or in ${SPILLWAY_VENV}")
if(SPILLWAY_NVCC)
  execute_process(COMMAND ${SPILLWAY_NVCC} --version OUTPUT_VARIABLE version ERROR_QUIET)
  if(version MATCHES "release ([0-9]+)\\.([0-9]+)" AND CMAKE_MATCH_1 GREATER_EQUAL 13)
    set(SPILLWAY_CUDA_FOUND TRUE)
    set(SPILLWAY_CUDA_DETAIL "toolkit ${CMAKE_MATCH_1}.${CMAKE_MATCH_2}, ${SPILLWAY_NVCC} (no part of this version uses it)")
  else()
    set(SPILLWAY_CUDA_DETAIL "${SPILLWAY_NVCC} is not of a toolkit 13 or newer")
  endif()
endif()
