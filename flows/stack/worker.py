"""One process worker of the work pool `gpu`: it runs what people start in the Prefect UI, one run at a time."""

import platform
import sys
from pathlib import Path

import httpx

from flows.stack.server import Server
from flows.stack.settings import ADMINISTRATOR, Stack

POOL = "gpu"


def worker(stack: Stack, repository: Path, name: str = "") -> Server:
    """A worker on `repository`; the other servers must be there."""
    name = name or f"stack-{platform.node()}"
    pool = ["--pool", POOL, "--type", "process"]
    return Server(
        name="worker",
        folder=stack.folder,
        command=[sys.executable, "-m", "prefect", "worker", "start", *pool, "--name", name, "--limit", "1"],
        environment={
            **stack.client,
            "PREFECT_HOME": str(stack.folder / "worker"),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the shortest; a run without heartbeats is taken for dead
        },
        healthy=lambda: answers(stack, name),
        log=stack.log("worker"),
        directory=repository,
    )


def answers(stack: Stack, name: str) -> bool:
    """Whether the server hears the worker."""
    try:
        response = httpx.post(
            f"{stack.prefect_address}/api/work_pools/{POOL}/workers/filter",
            json={},
            auth=(ADMINISTRATOR, stack.secrets.prefect_password),
            timeout=10,
        )
    except httpx.TransportError:
        return False
    return response.is_success and (name, "ONLINE") in [(one["name"], one["status"]) for one in response.json()]
