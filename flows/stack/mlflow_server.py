"""MLflow: runs and users in PostgreSQL, artifacts in S3 behind its proxy, a password for everybody."""

import sys

import httpx

from flows.stack.server import Server
from flows.stack.settings import ADMINISTRATOR, BUCKET, HOST, Stack, write_private

# Everybody who has an account sees everything; changing a thing takes its maker or a permission.
# One worker process: its cache of checked passwords (hashing one takes tens of milliseconds) is never out of date.
AUTHENTICATION = """[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {administrator}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def mlflow_server(stack: Stack) -> Server:
    """The server of `stack`; PostgreSQL must be there."""
    address = f"{HOST}:{stack.ports.mlflow}"
    users = stack.database("mlflow_auth", "psycopg2", role="mlflow")
    authentication = stack.folder / "mlflow/authentication.ini"
    content = AUTHENTICATION.format(database=users, administrator=ADMINISTRATOR)
    options = {
        "app-name": "basic-auth",
        "host": HOST,
        "port": stack.ports.mlflow,
        "workers": 1,
        "artifacts-destination": f"s3://{BUCKET}/mlflow",
        "allowed-hosts": f"{address},localhost:{stack.ports.mlflow}",
    }
    return Server(
        name="MLflow",
        folder=stack.folder,
        command=[
            *(sys.executable, "-m", "mlflow", "server", "--serve-artifacts"),
            *(argument for name, value in options.items() for argument in (f"--{name}", str(value))),
        ],
        environment={
            "MLFLOW_BACKEND_STORE_URI": stack.database("mlflow", "psycopg2"),
            "MLFLOW_AUTH_CONFIG_PATH": str(authentication),
            "MLFLOW_AUTH_ADMIN_PASSWORD": stack.secrets.mlflow_password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": stack.secrets.mlflow_session_key,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of language models' evaluations
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **stack.storage,
        },
        healthy=lambda: answers(stack),
        log=stack.log("mlflow"),
        prepare=lambda: write_private(authentication, content),
        port=stack.ports.mlflow,
        option="--mlflow-port",
        directory=authentication.parent,
    )


def answers(stack: Stack) -> bool:
    """Whether the registry answers who has the password: its health page does not ask the database."""
    try:
        return httpx.get(
            f"{stack.mlflow_address}/api/2.0/mlflow/registered-models/search",
            auth=(ADMINISTRATOR, stack.secrets.mlflow_password),
            timeout=10,
        ).is_success
    except httpx.TransportError:
        return False
