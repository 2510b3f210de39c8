#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds docker/cpu.Dockerfile without a daemon, starts its default command, and checks that it ran without
# rights under tini, lost nothing, and carries no compiler. Needs root, a network and about 20 GB below
# build/image, which it gives back.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
bash docker/install-deps.sh --images

say() { printf 'test-image: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

work=$PWD/build/image
# The driver as an option too: Debian's buildah passes over the variable.
buildah=(buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$STORAGE_DRIVER")
# Nothing that an unclean end left mounted here is followed.
clean_up() { rm -rf --one-file-system "$work"; }
trap clean_up EXIT
clean_up
mkdir -p "$work"

# The base image, made here under the name that the Dockerfile knows.
debootstrap --variant=minbase bookworm "$work/rootfs" >"$work/debootstrap.log" 2>&1 ||
  { tail -5 "$work/debootstrap.log"; die 'debootstrap failed: see the lines above'; }
base=$("${buildah[@]}" from scratch)
"${buildah[@]}" add --quiet "$base" "$work/rootfs" / >/dev/null
"${buildah[@]}" commit --quiet --rm "$base" debian:bookworm >/dev/null
rm -rf --one-file-system "$work/rootfs"

# A network with certificates of its own hands them to pip during the build; of them only the empty mount point stays.
trust=()
if [[ -n ${PIP_CERT:-} ]]; then
  trust=(--volume "$PIP_CERT:/run/builder-certificates.crt:ro" --build-arg PIP_CERT=/run/builder-certificates.crt)
fi
"${buildah[@]}" bud --pull-never "${trust[@]}" -f docker/cpu.Dockerfile -t spillway:cpu .

config() { "${buildah[@]}" inspect --type image --format "{{$1}}" spillway:cpu; }
[[ $(config .OCIv1.Config.User) == 10001 ]] || die "the image runs as '$(config .OCIv1.Config.User)'"
[[ $(config .OCIv1.Config.Entrypoint) == '[/usr/bin/tini --]' ]] || die "the image starts '$(config .OCIv1.Config.Entrypoint)', not tini"
[[ $(config .OCIv1.Config.Cmd) == *examples/quickstart.py* ]] || die "the default command is '$(config .OCIv1.Config.Cmd)'"
read -ra command <<<"$(config .OCIv1.Config.Cmd | tr -d '[]')"

container=$("${buildah[@]}" from --pull-never spillway:cpu)
inside() { "${buildah[@]}" run "$container" -- "$@" </dev/null; }
[[ $(inside id -u) == 10001 ]] || die 'the container runs as another user than the image says'
writable=$(inside bash -c 'find /spillway /opt -writable ! -type l 2>/dev/null | head -5')
[[ -z $writable ]] || die "its user can write where the programs are: ${writable//$'\n'/ }"
# shellcheck disable=SC2016  # for the shell inside
unneeded=$(inside bash -c 'for tool in gcc g++ cc c++ ld cmake ninja git; do type -P "$tool" || true; done
  find /spillway/build /spillway/.git -type f ! -path "/spillway/build/release/bin/*" 2>/dev/null || true
  find /var/cache/apt/archives /var/lib/apt/lists -name "*.deb" -o -name "*Packages*" 2>/dev/null || true')
[[ -z $unneeded ]] || die "the image carries what only builds need: ${unneeded//$'\n'/ }"

# A process of its own, but not the first one: without a daemon there are no process numbers of its own.
inside env TINI_SUBREAPER= /usr/bin/tini -- "${command[@]}" | tee "$work/quickstart.out"
for zero in lost doubled; do
  grep -Eq "^ +samples $zero +0\$" "$work/quickstart.out" || die "the table above does not say that no sample was $zero"
done
say 'the default command ended well'
