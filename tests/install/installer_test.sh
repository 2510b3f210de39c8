#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docker/install-deps.sh: what it refuses, what it names, and that a second run does nothing. Installs nothing.
set -euo pipefail
installer=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/docker/install-deps.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'installer_test: %s\n' "$*" >&2; exit 1; }

output=$(bash "$installer" --nonesuch 2>&1) && fail 'an unknown option was accepted'
[[ $output == *"--nonesuch"*"--cuda --pytorch --bench --images"* ]] || fail "does not say which options there are: $output"

# Nothing installed, no rights, no sudo: the packages are named, and apt-get is not called.
mkdir "$work/bin"
printf '#!/bin/sh\nexit 1\n' >"$work/bin/dpkg-query"
printf '#!/bin/sh\ntouch "%s"\n' "$work/apt-called" >"$work/bin/apt-get"
chmod 755 "$work" "$work/bin" "$work/bin"/*
for tool in bash dirname cat env sort sha256sum cut; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
cp "$installer" "$work/install-deps.sh"
chmod 644 "$work/install-deps.sh"
as_nobody=()
((EUID)) || as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
output=$("${as_nobody[@]}" env PATH="$work/bin" bash "$work/install-deps.sh" 2>&1) && fail 'went on without rights'
[[ $output == *"need root or sudo"*"libgrpc++-dev"* ]] || fail "does not name what is missing: $output"
[[ ! -e $work/apt-called ]] || fail 'called apt-get without rights'

# With everything there, a stamp makes the second run quick; without network it could do nothing else.
bash "$installer" >/dev/null || fail 'the first run failed'
start=$SECONDS
PIP_NO_INDEX=1 PIP_FIND_LINKS='' bash "$installer" >/dev/null || fail 'the second run failed'
((SECONDS - start <= 5)) || fail "the second run took $((SECONDS - start)) s"

# One version for every wheel, and no registry by name.
if sed -n '/^wheels/,/^)/p' "$installer" | grep -E '^  [a-z]' | grep -v '==' ; then fail 'a wheel without a version'; fi
if grep -nE 'https?://|[a-z]+\.(org|io|com)\b' "$installer" | grep -v 'SPDX'; then fail 'names a host'; fi
