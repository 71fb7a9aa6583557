"""The platform's servers on free ports. Takes 20 seconds."""

from collections.abc import Iterator

import pytest

from flows.stack.postgres import postgres
from flows.stack.servers import artifacts, mlflow, prefect, s3
from flows.stack.settings import Stack
from flows.stack.supervision import supervised
from tests.support.ports import free_ports


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, S3, MLflow and Prefect, empty; `Stack.client` is what a client needs in its environment."""
    stack = Stack.at(tmp_path_factory.mktemp("platform"), free_ports())
    data, services = [postgres(stack), s3(stack), artifacts(stack)], [mlflow(stack), prefect(stack)]
    with supervised(stack.folder, [*data, *services]) as supervisor:
        supervisor.start(*data)
        supervisor.start(*services)
        yield stack
