# SPDX-License-Identifier: Apache-2.0
# An image without GPU. Its default command is the quickstart's demonstration.
#   docker build -f docker/cpu.Dockerfile -t spillway:cpu .   (or podman build, or buildah bud)
#   docker run --rm spillway:cpu

FROM debian:bookworm AS build
# For a builder whose network has certificates of its own; empty: pip's.
ARG PIP_CERT=
ENV SPILLWAY_VENV=/opt/spillway-venv
WORKDIR /spillway
# Alone, so that a changed source does not install everything again.
COPY docker/install-deps.sh docker/
RUN bash docker/install-deps.sh && apt-get clean && rm -rf /var/lib/apt/lists/* /root/.cache
COPY . .
RUN bash examples/quickstart.sh --build-only

# No compiler and no build tree: the programs and wheels stay at the paths that they were linked with.
FROM debian:bookworm AS run
ENV SPILLWAY_VENV=/opt/spillway-venv
COPY --from=build /opt/spillway-venv /opt/spillway-venv
WORKDIR /spillway
COPY docker/install-deps.sh docker/
RUN bash docker/install-deps.sh --runtime && apt-get clean && rm -rf /var/lib/apt/lists/* /root/.cache \
  && useradd --create-home --uid 10001 spillway
COPY LICENSE .
COPY examples examples
COPY tests/jobs tests/jobs
COPY --from=build /spillway/build/release/bin/spillway /spillway/build/release/bin/02_fashion_mnist \
  /spillway/build/release/bin/spillway_check_log build/release/bin/
# A number: Kubernetes' runAsNonRoot does not look names up.
USER 10001
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["python3", "-B", "examples/quickstart.py"]
