# SPDX-License-Identifier: Apache-2.0
# An image without GPU. Its default command is the quickstart.
#   docker build -f docker/cpu.Dockerfile -t spillway:cpu .   (or podman build, or buildah bud)
#   docker run --rm spillway:cpu

# What both later stages stand on, made by the one installer; it changes only with the list.
FROM debian:bookworm AS dependencies
# For a builder whose network has certificates of its own; empty: pip's.
ARG PIP_CERT=
ENV SPILLWAY_VENV=/opt/spillway-venv
COPY docker/install-deps.sh /opt/install-deps.sh
RUN bash /opt/install-deps.sh && rm -rf /var/lib/apt/lists/* /root/.cache

FROM dependencies AS build
COPY . /spillway
WORKDIR /spillway
RUN bash examples/quickstart.sh --build-only

# The sources come along: the examples are there to be read, changed and built again.
FROM dependencies AS run
RUN useradd --create-home --uid 10001 spillway
COPY --from=build --chown=spillway:spillway /spillway /spillway
USER spillway
WORKDIR /spillway
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["bash", "examples/quickstart.sh"]
