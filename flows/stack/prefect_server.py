"""Prefect's server: runs in PostgreSQL, a password for everybody."""

import sys

import httpx

from flows.stack.server import Server
from flows.stack.settings import ADMINISTRATOR, HOST, Stack


def prefect_server(stack: Stack) -> Server:
    """The server of `stack`; PostgreSQL must be there."""
    home = stack.folder / "prefect"
    port = str(stack.ports.prefect)
    return Server(
        name="Prefect",
        folder=stack.folder,
        command=[sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", port],
        environment={
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_UI_API_URL": f"{stack.prefect_address}/api",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),  # the default is inside the installed package
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": stack.database("prefect", "asyncpg"),
            "PREFECT_SERVER_API_AUTH_STRING": f"{ADMINISTRATOR}:{stack.secrets.prefect_password}",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        },
        healthy=lambda: answers(stack),
        log=stack.log("prefect"),
        prepare=lambda: home.mkdir(exist_ok=True),
        port=stack.ports.prefect,
        option="--prefect-port",
        directory=home,
    )


def answers(stack: Stack) -> bool:
    """Whether the server answers who has the password, its database too."""
    try:
        address, administrator = stack.prefect_address, (ADMINISTRATOR, stack.secrets.prefect_password)
        return httpx.get(f"{address}/api/ready", auth=administrator, timeout=10).is_success
    except httpx.TransportError:
        return False
