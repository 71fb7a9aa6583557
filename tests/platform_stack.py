"""The platform's servers on free ports; import the fixture `platform` where it is needed. Takes 20 seconds a module."""

from collections.abc import Iterator

import pytest
from s3_server import free_port

from flows.stack.postgres import postgres
from flows.stack.servers import mlflow, prefect, s3
from flows.stack.settings import Ports, Stack
from flows.stack.supervision import supervised


def free_ports() -> Ports:
    return Ports(*(free_port() for _ in range(4)))


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, S3, MLflow and Prefect, empty; `Stack.client` is what a client needs in its environment."""
    stack = Stack.at(tmp_path_factory.mktemp("platform"), free_ports())
    data, services = [postgres(stack), s3(stack)], [mlflow(stack), prefect(stack)]
    with supervised(stack.folder, [*data, *services]) as supervisor:
        supervisor.start(*data)
        supervisor.start(*services)
        yield stack
