"""All servers except PostgreSQL, with their commands, settings and health checks."""

import platform
import sys
from pathlib import Path

import httpx

from flows import POOL
from flows.stack.settings import ACCOUNT, ADMINISTRATOR, ARTIFACTS_BUCKET, BUCKET, HOST, Stack, write_private
from flows.stack.supervision import Server

# All accounts can read everything; to change an object, one needs to be its creator or to have a permission.
# The cache of checked passwords (hashing takes tens of milliseconds) is always up to date with one worker process.
MLFLOW_USERS = """[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {administrator}
authorization_function = {guard}:authenticate
auth_cache_ttl_seconds = 60
"""

GUARD = "flows.stack.mlflow_guard"


def s3(stack: Stack) -> Server:
    """Return the S3 server for DVC's remote, checkpoints and images to predict on."""
    return _s3("s3", stack.folder / "s3", BUCKET, stack.storage)


def artifacts(stack: Stack) -> Server:
    """Return the S3 server for MLflow's artifacts, which has its own key, so that neither key opens both buckets."""
    return _s3("artifacts", stack.folder / "artifacts", ARTIFACTS_BUCKET, stack.artifact_storage)


def _s3(name: str, objects: Path, bucket: str, storage: dict[str, str]) -> Server:
    """Return an rclone server on the folder `objects`, in which buckets are folders and objects are files."""
    endpoint = storage["AWS_ENDPOINT_URL"]
    return Server(
        name=name,
        command=["rclone", "serve", "s3", "--addr", endpoint.removeprefix("http://"), str(objects)],
        environment={
            "RCLONE_AUTH_KEY": f'"{storage["AWS_ACCESS_KEY_ID"]},{storage["AWS_SECRET_ACCESS_KEY"]}"',
            "RCLONE_CONFIG": "",  # ignore the user's own configuration
        },
        is_healthy=lambda: get(endpoint).is_client_error,  # a healthy server refuses unsigned requests
        prepare=lambda: (objects / bucket).mkdir(parents=True, exist_ok=True),
    )


def mlflow(stack: Stack) -> Server:
    """Return MLflow's server: runs and users in PostgreSQL, artifacts in S3 behind its proxy, password protection."""
    users = stack.folder / "mlflow-users.ini"
    database = stack.database("mlflow_auth", "psycopg2", role="mlflow")
    options = {
        "app-name": "basic-auth",
        "host": HOST,
        "port": stack.ports.mlflow,
        "workers": 1,
        "uvicorn-opts": "--no-access-log",  # a line for each request would hide all others
        "artifacts-destination": f"s3://{ARTIFACTS_BUCKET}",
        "allowed-hosts": f"{HOST}:{stack.ports.mlflow},localhost:{stack.ports.mlflow}",
    }
    # This request reads the database, unlike the health page.
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
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # only needed to evaluate language models
            "MLFLOW_ENABLE_AI_GATEWAY": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Allowed sources of a version; for these MLflow checks that they belong to the named run.
            "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": "^(runs|models|mlflow-artifacts):/",
            **stack.artifact_storage,
        },
        is_healthy=lambda: get(page, stack.secrets.mlflow_password).is_success,
        prepare=lambda: write_private(
            users, MLFLOW_USERS.format(database=database, administrator=ADMINISTRATOR, guard=GUARD)
        ),
        complete=lambda: give_account(stack),
    )


def give_account(stack: Stack) -> None:
    """Create MLflow's account for workers and people in other terminals, if it does not exist."""
    administrator = httpx.Client(
        base_url=f"{stack.mlflow_address}/api", auth=(ADMINISTRATOR, stack.secrets.mlflow_password), timeout=60
    )
    with administrator:
        account = {"username": ACCOUNT, "password": stack.secrets.mlflow_account_password}
        made = administrator.post("/2.0/mlflow/users/create", json=account)
        if made.status_code == 400 and made.json()["error_code"] == "RESOURCE_ALREADY_EXISTS":
            return
        made.raise_for_status()
        _give_rights(administrator)


def _give_rights(administrator: httpx.Client) -> None:
    """Let the new account continue what workers began as administrator, on a platform of an earlier version."""
    experiments = administrator.post("/2.0/mlflow/experiments/search", json={"max_results": 1000})
    models = administrator.get("/2.0/mlflow/registered-models/search", params={"max_results": 1000})
    for kind, names in {
        "experiment": [it["experiment_id"] for it in experiments.json().get("experiments", [])],
        "registered_model": [it["name"] for it in models.json().get("registered_models", [])],
    }.items():
        for name in names:
            rights = {"username": ACCOUNT, "permission": "MANAGE", "resource_type": kind, "resource_id": name}
            administrator.post("/3.0/mlflow/users/permissions/grant", json=rights).raise_for_status()


def prefect(stack: Stack) -> Server:
    """Return Prefect's server: runs in PostgreSQL, and password protection."""
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
    """Return a Prefect worker that works in `repository`, one run at a time."""
    pool = ["--pool", POOL, "--type", "process"]
    name = f"stack-{platform.node()}"
    page = f"{stack.prefect_address}/api/work_pools/{POOL}"
    return Server(
        name="worker",
        command=[sys.executable, "-m", "flows.worker", "start", *pool, "--name", name, "--limit", "1"],
        environment={
            **stack.client,
            "PREFECT_HOME": str(stack.folder / "worker"),
            "PREFECT_CLIENT_MAX_RETRIES": "6",  # as in docker/worker.Dockerfile
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
        },
        # A pool is ready if a worker has recently sent a heartbeat.
        is_healthy=lambda: get(page, stack.secrets.prefect_password).json().get("status") == "READY",
        directory=repository,
    )


def get(address: str, password: str = "") -> httpx.Response:
    """Return the response to a request with or without the administrator's password; 503 if no server answers."""
    try:
        return httpx.get(address, auth=(ADMINISTRATOR, password) if password else None, timeout=10)
    except httpx.TransportError:
        return httpx.Response(503, json={})
