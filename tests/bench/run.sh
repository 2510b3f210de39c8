#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the release preset, measures each row beside its baseline in the same run, and prints one table.
#
#   bash tests/bench/run.sh [PATTERN] [--json FILE] [--strict] [--list] [--repeat N] [--no-build]
#
# PATTERN is a shell pattern or the start of row ids (core, 'core.join*'). A wrong answer fails; a missed
# target fails only with --strict. Baselines that are not there are installed first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=1 options=()
for option in "$@"; do
  case $option in
    --no-build) build=0 ;;
    --list | -h | --help) build=0; options+=("$option") ;;
    *) options+=("$option") ;;
  esac
done
if ((build)); then
  bash docker/install-deps.sh --bench
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
  cmake --preset release >/dev/null
  jobs=$(nproc)
  cmake --build build/release -j "$((jobs < 2 ? jobs : 2))" >build/bench.build.log || { tail -60 build/bench.build.log; exit 1; }
fi
exec python3 -B tests/bench/driver.py ${options[@]+"${options[@]}"}
