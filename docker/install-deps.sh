#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs everything that Spillway is built from and tested with, on Debian 12: hosts, CI and images.
# This is the only place that names a dependency or its version. A second run finds its stamp and does nothing.
#
#   bash docker/install-deps.sh [--cuda] [--pytorch] [--bench] [--images] | --runtime
#
#   (none)     compiler, libraries, and the CPU side of libtorch and UCX as wheels; no GPU, no CUDA toolkit
#   --cuda     also every wheel that building for and running on a GPU needs
#   --pytorch  also Python's side of PyTorch: a test starts a plain PyTorch program
#   --bench    also what the benchmarks compare with: PyTorch as above, Open MPI, iperf3
#   --images   also what builds and starts a container image without a daemon: buildah, debootstrap
#   --runtime  only what programs that were built elsewhere run with: no compiler
#
# Wheels go to .venv in the project, or to $SPILLWAY_VENV. Debian packages need root or sudo, but only if
# one is missing. Debian's own packages are pinned by the release, the wheels one by one.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${SPILLWAY_VENV:-$root/.venv}

packages=(
  ca-certificates git g++ cmake ninja-build ccache pkg-config python3 python3-venv      # tools
  clang-format clang-14 libclang-rt-14-dev                                              # tests/tidy, tests/fuzz
  libabsl-dev libssl-dev libspdlog-dev libxxhash-dev zlib1g-dev                         # runtime/base
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libsqlite3-dev # runtime/coordinator
  libhwy-dev libisal-dev                                                                # kernels
  libcli11-dev                                                                          # launcher
  libgtest-dev libgmock-dev libbenchmark-dev                                            # tests
  dataset-fashion-mnist                                                                 # examples
  tini procps                                                                           # images
)
# What built programs load and the examples read. A library's own dependencies come with it.
packages_runtime=(
  ca-certificates python3 python3-venv tini procps dataset-fashion-mnist
  libgrpc++1.51 libprotobuf32 libabsl20220623 libsqlite3-0 libspdlog1.10 libxxhash0 libssl3 zlib1g libstdc++6
  libhwy1 libisal2
)
packages_bench=(openmpi-bin libopenmpi-dev iperf3)
packages_images=(buildah debootstrap)

# libtorch comes without its dependencies: its CPU library needs only the CUDA runtime and CUPTI beside it.
wheels=(
  torch==2.13.0
  nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cupti==13.0.85
  libucx-cu13==1.22.0
)
# What libtorch's CUDA library loads. Python's torch module loads it with or without a GPU.
wheels_cuda_libraries=(
  nvidia-nccl-cu13==2.29.7
  nvidia-cudnn-cu13==9.20.0.48
  nvidia-cusparselt-cu13==0.8.1
  nvidia-nvshmem-cu13==3.4.5
  nvidia-cublas==13.1.1.3
  nvidia-cufft==12.0.0.61
  nvidia-cufile==1.15.1.6
  nvidia-curand==10.4.0.35
  nvidia-cusolver==12.0.4.66
  nvidia-cusparse==12.6.3.3
  nvidia-nvjitlink==13.0.88
  nvidia-cuda-nvrtc==13.0.88
  nvidia-nvtx==13.0.85
)
# A compiler, for machines without a CUDA toolkit.
wheels_cuda_compiler=(
  nvidia-cuda-nvcc==13.0.88
  nvidia-cuda-crt==13.0.88
  nvidia-nvvm==13.0.88
  nvidia-cuda-cccl==13.0.85
)
# What Python's torch module imports.
wheels_pytorch=(
  numpy==2.2.6
  filelock==3.18.0
  typing-extensions==4.14.0
  setuptools==80.9.0
  sympy==1.14.0
  mpmath==1.3.0
  networkx==3.4.2
  jinja2==3.1.6
  markupsafe==3.0.2
  fsspec==2025.5.1
)

say() { printf 'install-deps: %s\n' "$*"; }
die() { printf 'install-deps: %s\n' "$*" >&2; exit 1; }

cuda=0 pytorch=0
for option in "$@"; do
  case $option in
    --cuda) cuda=1 ;;
    --pytorch) pytorch=1 ;;
    --bench) pytorch=1; packages+=("${packages_bench[@]}") ;;
    --images) packages+=("${packages_images[@]}") ;;
    --runtime)
      (($# == 1)) || die "--runtime stands alone: it leaves out what the other options add to"
      packages=("${packages_runtime[@]}")
      ;;
    -h | --help) sed -n '3,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown option '$option' (known: --cuda --pytorch --bench --images --runtime)" ;;
  esac
done
if ((cuda || pytorch)); then wheels+=("${wheels_cuda_libraries[@]}"); fi
if ((cuda)); then wheels+=("${wheels_cuda_compiler[@]}"); fi
if ((pytorch)); then wheels+=("${wheels_pytorch[@]}"); fi

install_packages() {
  command -v dpkg-query >/dev/null || die "needs Debian 12: dpkg-query was not found here"
  local missing=() name
  for name in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  local as_root=(env)
  if ((EUID)); then
    command -v sudo >/dev/null ||
      die "these Debian packages are missing and need root or sudo to install: ${missing[*]}"
    as_root=(sudo env)
  fi
  local release=''
  release=$(. /etc/os-release && printf '%s %s' "${ID:-}" "${VERSION_ID:-}") || true
  [[ $release == 'debian 12' ]] || say "written for Debian 12, this is '$release': names and versions may differ"
  say "installing ${#missing[@]} Debian packages"
  local apt=(DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=3
    -o DPkg::Lock::Timeout=300)
  "${as_root[@]}" "${apt[@]}" update >/dev/null || die "apt-get update failed: see the lines above"
  "${as_root[@]}" "${apt[@]}" install --no-install-recommends "${missing[@]}" >/dev/null </dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

# The stamp names what was asked for; a changed list or version has another one, so it installs again.
install_wheels() {
  local digest stamp
  digest=$(printf '%s\n' "${wheels[@]}" | sort | sha256sum | cut -c1-16)
  stamp=$venv/.spillway-wheels-$digest
  if [[ -e $stamp ]] && "$venv/bin/python" -c '' 2>/dev/null; then return 0; fi
  mkdir -p "$venv"
  exec 9<"$venv/.."  # two runs at once take turns
  flock 9 || die "cannot lock $venv"
  if [[ -e $stamp ]] && "$venv/bin/python" -c '' 2>/dev/null; then return 0; fi
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || /usr/bin/python3 -m venv --clear "$venv" ||
    die "cannot make a virtual environment in $venv"
  say "installing ${#wheels[@]} wheels into $venv"
  "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-deps "${wheels[@]}" ||
    die "pip could not install the wheels: see the lines above"
  touch "$stamp"
}

install_packages
install_wheels
say "everything is there"
