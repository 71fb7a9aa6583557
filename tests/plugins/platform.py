"""The platform's servers on free ports. Takes 20 seconds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from flows.stack.postgres import postgres
from flows.stack.servers import artifacts, mlflow, prefect, s3
from flows.stack.settings import ADMINISTRATOR, Stack
from flows.stack.supervision import Server, supervised
from tests.support.ports import free_ports

Service = Callable[[Stack], Server]


@contextmanager
def running_platform(folder: Path, services: Sequence[Service] = (mlflow, prefect)) -> Iterator[Stack]:
    """PostgreSQL, S3 and these services, empty, in `folder`."""
    stack = Stack.at(folder, free_ports())
    data, started = [postgres(stack), s3(stack), artifacts(stack)], [service(stack) for service in services]
    with supervised(stack.folder, [*data, *started]) as supervisor:
        supervisor.start(*data)
        supervisor.start(*started)
        yield stack


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, S3, MLflow and Prefect, empty; `Stack.client` is what a client needs in its environment."""
    with running_platform(tmp_path_factory.mktemp("platform")) as stack:
        yield stack


@pytest.fixture
def prefect_api(platform: Stack) -> Iterator[httpx.Client]:
    """Prefect's API, as its administrator."""
    account = (ADMINISTRATOR, platform.secrets.prefect_password)
    with httpx.Client(base_url=f"{platform.prefect_address}/api", auth=account, timeout=60) as api:
        yield api
