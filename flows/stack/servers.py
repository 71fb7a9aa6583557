"""Each server but PostgreSQL: its command, its settings, and how one knows that it answers."""

import platform
import sys
from pathlib import Path

import httpx

from flows import POOL
from flows.stack.settings import ADMINISTRATOR, ARTIFACTS_BUCKET, BUCKET, HOST, Stack, write_private
from flows.stack.supervision import Server

# Everybody who has an account sees everything; changing a thing takes its maker or a permission.
# One worker process: its cache of checked passwords (hashing one takes tens of milliseconds) is never out of date.
MLFLOW_USERS = """[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {administrator}
authorization_function = {guard}:authenticate
auth_cache_ttl_seconds = 60
"""

GUARD = "flows.stack.mlflow_guard"


def s3(stack: Stack) -> Server:
    """Everybody's data: DVC's remote, checkpoints, images to predict."""
    return _s3("s3", stack.folder / "s3", BUCKET, stack.storage)


def artifacts(stack: Stack) -> Server:
    """MLflow's artifacts. Another server with another key: neither key opens the other's bucket."""
    return _s3("artifacts", stack.folder / "artifacts", ARTIFACTS_BUCKET, stack.artifact_storage)


def _s3(name: str, objects: Path, bucket: str, storage: dict[str, str]) -> Server:
    """rclone over the folder `objects`: objects are files, buckets are the folders in there."""
    endpoint = storage["AWS_ENDPOINT_URL"]
    return Server(
        name=name,
        command=["rclone", "serve", "s3", "--addr", endpoint.removeprefix("http://"), str(objects)],
        environment={
            "RCLONE_AUTH_KEY": f'"{storage["AWS_ACCESS_KEY_ID"]},{storage["AWS_SECRET_ACCESS_KEY"]}"',
            "RCLONE_CONFIG": "",  # nobody's own remotes
        },
        is_healthy=lambda: get(endpoint).is_client_error,  # it refuses who does not sign
        prepare=lambda: (objects / bucket).mkdir(parents=True, exist_ok=True),
    )


def mlflow(stack: Stack) -> Server:
    """Runs and users in PostgreSQL, artifacts in S3 behind its proxy, a password for everybody."""
    users = stack.folder / "mlflow-users.ini"
    database = stack.database("mlflow_auth", "psycopg2", role="mlflow")
    options = {
        "app-name": "basic-auth",
        "host": HOST,
        "port": stack.ports.mlflow,
        "workers": 1,
        "artifacts-destination": f"s3://{ARTIFACTS_BUCKET}",
        "allowed-hosts": f"{HOST}:{stack.ports.mlflow},localhost:{stack.ports.mlflow}",
    }
    # Asks the database, which the health page does not.
    page = f"{stack.mlflow_address}/api/2.0/mlflow/registered-models/search"
    return Server(
        name="mlflow",
        command=[
            *(sys.executable, "-m", "mlflow", "server", "--serve-artifacts"),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        environment={
            "MLFLOW_BACKEND_STORE_URI": stack.database("mlflow", "psycopg2"),
            "MLFLOW_AUTH_CONFIG_PATH": str(users),
            "MLFLOW_AUTH_ADMIN_PASSWORD": stack.secrets.mlflow_password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": stack.secrets.mlflow_session_key,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of language models' evaluations
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Of the addresses that a version's source may have; MLflow checks that these belong to the named run.
            "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": "^(runs|models|mlflow-artifacts):/",
            **stack.artifact_storage,
        },
        is_healthy=lambda: get(page, stack.secrets.mlflow_password).is_success,
        prepare=lambda: write_private(
            users, MLFLOW_USERS.format(database=database, administrator=ADMINISTRATOR, guard=GUARD)
        ),
    )


def prefect(stack: Stack) -> Server:
    """Runs in PostgreSQL, a password for everybody."""
    home = stack.folder / "prefect"
    return Server(
        name="prefect",
        command=[
            *(sys.executable, "-m", "prefect", "server", "start"),
            *("--host", HOST, "--port", str(stack.ports.prefect)),
        ],
        environment={
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_UI_API_URL": f"{stack.prefect_address}/api",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),  # the default is inside the installed package
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": stack.database("prefect", "asyncpg"),
            "PREFECT_SERVER_API_AUTH_STRING": f"{ADMINISTRATOR}:{stack.secrets.prefect_password}",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        },
        is_healthy=lambda: get(f"{stack.prefect_address}/api/ready", stack.secrets.prefect_password).is_success,
    )


def worker(stack: Stack, repository: Path) -> Server:
    """Runs on `repository` what people start in the Prefect UI, one run at a time."""
    pool = ["--pool", POOL, "--type", "process"]
    name = f"stack-{platform.node()}"
    page = f"{stack.prefect_address}/api/work_pools/{POOL}"
    return Server(
        name="worker",
        command=[sys.executable, "-m", "flows.worker", "start", *pool, "--name", name, "--limit", "1"],
        environment={**stack.client, "PREFECT_HOME": str(stack.folder / "worker")},
        # Ready is a pool that a worker has lately sent a heartbeat to.
        is_healthy=lambda: get(page, stack.secrets.prefect_password).json().get("status") == "READY",
        directory=repository,
    )


def get(address: str, password: str = "") -> httpx.Response:
    """What the server says to who has the administrator's password, or to anybody; 503 where none answers."""
    try:
        return httpx.get(address, auth=(ADMINISTRATOR, password) if password else None, timeout=10)
    except httpx.TransportError:
        return httpx.Response(503, json={})
