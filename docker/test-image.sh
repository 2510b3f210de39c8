#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds docker/cpu.Dockerfile without a daemon, starts its default command, and checks that it ran without
# rights and ended well. Needs root, a network and about 20 GB below build/image, which it gives back.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
bash docker/install-deps.sh --images

work=$PWD/build/image
container=''
clean_up() {
  [[ -z $container ]] || "${buildah[@]}" rm "$container" >/dev/null || true
  rm -rf "$work"
}
buildah=(buildah --root "$work/storage" --runroot "$work/run")
trap clean_up EXIT
rm -rf "$work"
mkdir -p "$work"

# The base image, made here under the name that the Dockerfile knows.
debootstrap --variant=minbase bookworm "$work/rootfs" >"$work/debootstrap.log" || { tail -5 "$work/debootstrap.log"; exit 1; }
base=$("${buildah[@]}" from scratch)
"${buildah[@]}" add "$base" "$work/rootfs" / >/dev/null
"${buildah[@]}" commit --rm "$base" debian:bookworm >/dev/null
rm -rf "$work/rootfs"

# A network with certificates of its own hands them to pip during the build; they do not stay in the image.
trust=()
if [[ -n ${PIP_CERT:-} ]]; then trust=(--volume "$PIP_CERT:/run/builder-certificates.crt:ro" --build-arg PIP_CERT=/run/builder-certificates.crt); fi
"${buildah[@]}" bud --pull-never "${trust[@]}" -f docker/cpu.Dockerfile -t spillway:cpu .

config() { "${buildah[@]}" inspect --type image --format "{{$1}}" spillway:cpu; }
[[ $(config .OCIv1.Config.User) == spillway ]] || { echo "test-image: the image runs as '$(config .OCIv1.Config.User)'"; exit 1; }
[[ $(config .OCIv1.Config.Entrypoint) == '[/usr/bin/tini --]' ]] || { echo 'test-image: the image does not start tini'; exit 1; }
read -ra command <<<"$(config .OCIv1.Config.Cmd | tr -d '[]')"
container=$("${buildah[@]}" from --pull-never spillway:cpu)
"${buildah[@]}" run "$container" -- /usr/bin/tini -- "${command[@]}" </dev/null
echo 'test-image: the default command ended well'
