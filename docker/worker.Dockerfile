# The worker: takes runs from the Prefect work pool `gpu`. Build it from the root of the repository:
#   docker build -f docker/worker.Dockerfile -t dcube-worker:cuda .
#   docker build -f docker/worker.Dockerfile -t dcube-worker:cpu --build-arg TORCH_BACKEND=cpu .
# PyPI's torch brings its own CUDA; the driver comes from the host by the NVIDIA Container Toolkit.
# A registry's own digest makes a build repeatable: --build-arg BASE_IMAGE=docker.io/library/python@sha256:…
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS environment
RUN python -m venv /opt/venv && python -m pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
# Compiled here: each stage is a process of its own, and no container may write to the environment.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV=/opt/venv
# The locked versions of what pyproject.toml asks for, in a layer that a change of the code leaves alone.
# TORCH_BACKEND: empty for the locked CUDA, cpu, or the CUDA of an older driver (cu126).
ARG TORCH_BACKEND=""
WORKDIR /opt/dcube
COPY pyproject.toml requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/uv,sharing=locked \
    uv pip install --constraint requirements.lock --requirement pyproject.toml \
    ${TORCH_BACKEND:+--torch-backend "$TORCH_BACKEND"}

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS code
RUN python -m pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
ENV UV_COMPILE_BYTECODE=1
WORKDIR /opt/dcube
COPY . .
RUN uv pip install --no-cache --no-deps --target /opt/code .

# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
# git: workspaces. g++: torch.compile writes C and C++. Their versions are the base image's.
# The checkout that compose.yaml mounts belongs to somebody else.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 dcube \
    && install --directory --owner dcube /home/dcube/.dcube \
    && git config --system --add safe.directory /checkout \
    && git config --system --add safe.directory /checkout/.git
COPY --from=environment /opt/venv /opt/venv
COPY --from=code /opt/code /opt/venv/lib/python3.11/site-packages/
USER 1000
WORKDIR /home/dcube
ENV DO_NOT_TRACK=1 \
    DVC_NO_ANALYTICS=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT=true \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PATH=/opt/venv/bin:$PATH \
    PREFECT_CLIENT_MAX_RETRIES=6 \
    PREFECT_CLIENT_RETRY_EXTRA_CODES=500 \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 \
    PREFECT_WORKER_WEBSERVER_HOST=127.0.0.1 \
    PYTHONUNBUFFERED=1

HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health')"]
# Named after its host, so that a worker that starts again is the same one.
CMD ["sh", "-c", "exec python -m flows.worker start --pool gpu --type process --limit 1 --with-healthcheck --name \"$HOSTNAME\""]
