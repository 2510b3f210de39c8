#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and trains a model on Fashion-MNIST while workers are killed, leave and join.
#
#   bash examples/quickstart.sh [--json FILE] [--build-only]
#
#   --json        also write the results as one JSON object
#   --build-only  stop before the demonstration
#
# Needs Debian 12 and two cores. The first run installs and compiles for some minutes; the demonstration takes less
# than 90 seconds. The exit code is 0 only if no sample was lost or doubled, all replicas were equal and the model
# is as good as it should be. Ctrl-C leaves nothing behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

json='' build_only=0
while (($#)); do
  case $1 in
    --json) json=$(realpath -m -- "${2:?--json needs a file}"); shift ;;
    --build-only) build_only=1 ;;
    -h | --help) sed -n '3,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) printf 'quickstart: unknown option %s\n' "$1" >&2; exit 2 ;;
  esac
  shift
done

bash docker/install-deps.sh
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
mkdir -p build
log=build/quickstart.build.log
cmake --preset release -DSPILLWAY_WITH_UCX=ON -DSPILLWAY_WITH_TORCH=ON >"$log" 2>&1 || { tail -30 "$log"; exit 1; }
jobs=$(nproc)
echo 'quickstart: building (minutes the first time)'
cmake --build build/release -j "$((jobs < 4 ? jobs : 4))" --target spillway 02_fashion_mnist spillway_check_log >"$log" 2>&1 ||
  { grep -E -A 12 'FAILED:|error:' "$log" | head -60; exit 1; }
((!build_only)) || exit 0
exec python3 -B examples/quickstart.py ${json:+--json "$json"}
