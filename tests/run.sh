#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs the whole test suite, from nothing, on Debian 12. Needs no input and no GPU.
#
#   bash tests/run.sh [--preset NAME]… [--label REGEX] [--match REGEX] [--jobs N] [--no-install]
#
#   --preset  release, asan, tsan or debug; may be given again (default: release, asan and tsan)
#   --label   only tests whose label matches: unit conformance sim multiproc e2e tidy install image
#   --match   only tests whose name matches
#   --jobs    compile jobs and tests at once (default: the number of cores, at most 2)
#
# All presets' tests run as one ctest run, so its closing lines count everything. The exit code is 0 only
# if everything was built, nothing failed, and nothing was skipped that tests/skips.txt does not name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

presets=() label='' match='' install=1
jobs=$(nproc)
((jobs <= 2)) || jobs=2
while (($#)); do
  case $1 in
    --preset) presets+=("${2:?--preset needs a name}"); shift ;;
    --label) label=${2:?--label needs a regular expression}; shift ;;
    --match) match=${2:?--match needs a regular expression}; shift ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift ;;
    --no-install) install=0 ;;
    -h | --help) sed -n '3,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) printf 'tests/run.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
  esac
  shift
done
((${#presets[@]})) || presets=(release asan tsan)
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

failed_phases=()
phase() { # phase NAME COMMAND…: runs it, prints how long it took, remembers a failure and goes on
  local name=$1 start=$SECONDS
  shift
  printf '== %s\n' "$name"
  if "$@"; then
    printf '== %s: %d s\n' "$name" $((SECONDS - start))
  else
    printf '== %s: FAILED after %d s\n' "$name" $((SECONDS - start))
    failed_phases+=("$name")
    return 1
  fi
}

build() { # build PRESET
  local preset=$1 targets=(all) parts=()
  # What a sanitizer does not watch is not built for it: there the tests say what they need.
  [[ $preset == asan || $preset == tsan ]] && targets=(spillway_tests)
  # Nothing optional may be missing unnoticed where it was just installed.
  [[ $preset == release ]] && parts=(-DSPILLWAY_WITH_UCX=ON -DSPILLWAY_WITH_TORCH=ON)
  cmake --preset "$preset" ${parts[@]+"${parts[@]}"} >"build/$preset.configure.log" 2>&1 || { tail -40 "build/$preset.configure.log"; return 1; }
  sed -n '/Spillway [0-9]/,/NCCL/p' "build/$preset.configure.log"
  if ! cmake --build "build/$preset" -j "$jobs" --target "${targets[@]}" >"build/$preset.build.log" 2>&1; then
    grep -E -A 12 'FAILED:|error:' "build/$preset.build.log" | head -120
    return 1
  fi
}

mkdir -p build
if ((install)); then phase 'install dependencies' bash docker/install-deps.sh --pytorch || exit 1; fi
built=()
for preset in "${presets[@]}"; do
  if phase "build $preset" build "$preset"; then built+=("$preset"); fi
done

# One folder that names every preset's tests, so that a single ctest run sums them.
mkdir -p build/suite
: >build/suite/CTestTestfile.cmake
for preset in ${built[@]+"${built[@]}"}; do printf 'subdirs("../%s")\n' "$preset" >>build/suite/CTestTestfile.cmake; done
filter=()
[[ -z $label ]] || filter+=(-L "$label")
[[ -z $match ]] || filter+=(-R "$match")
if ((${#failed_phases[@]})); then printf '== not everything was built: %s\n' "${failed_phases[*]}"; fi

status=0
ctest --test-dir build/suite -j "$jobs" --output-on-failure --no-tests=error --timeout 300 \
  --test-output-size-passed 4000000 --test-output-size-failed 400000 --output-junit junit.xml \
  ${filter[@]+"${filter[@]}"} </dev/null || status=$?
python3 tests/tidy/check_skips.py build/suite/junit.xml tests/skips.txt || status=1
((${#failed_phases[@]} == 0)) || status=1
exit "$status"
