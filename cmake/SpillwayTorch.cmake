# SPDX-License-Identifier: Apache-2.0
# spillway::torch: libtorch from the wheel in SPILLWAY_VENV. Its own package file demands a CUDA toolkit
# when the wheel was built with CUDA, so the CPU libraries are named here one by one. Also used by the
# installed package.
file(GLOB SPILLWAY_TORCH_ROOT "${SPILLWAY_VENV}/lib/python3*/site-packages/torch")
set(SPILLWAY_TORCH_FOUND FALSE)
set(SPILLWAY_TORCH_DETAIL "no libtorch wheel in ${SPILLWAY_VENV}")
if(SPILLWAY_TORCH_ROOT AND EXISTS "${SPILLWAY_TORCH_ROOT}/include/torch/csrc/api/include/torch/torch.h")
  set(SPILLWAY_TORCH_FOUND TRUE)
  set(SPILLWAY_TORCH_DETAIL "${SPILLWAY_TORCH_ROOT}")
  if(NOT TARGET spillway::torch)
    add_library(spillway::torch INTERFACE IMPORTED)
    target_include_directories(spillway::torch INTERFACE
      ${SPILLWAY_TORCH_ROOT}/include ${SPILLWAY_TORCH_ROOT}/include/torch/csrc/api/include)
    target_link_libraries(spillway::torch INTERFACE
      ${SPILLWAY_TORCH_ROOT}/lib/libtorch_cpu.so ${SPILLWAY_TORCH_ROOT}/lib/libc10.so)
    target_compile_definitions(spillway::torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  endif()
endif()
