"""The platform's servers on free ports. Takes 20 seconds."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from flows.stack.mlflow_server import mlflow_server
from flows.stack.postgres import postgres
from flows.stack.prefect_server import prefect_server
from flows.stack.s3 import s3
from flows.stack.settings import Stack
from flows.stack.supervision import started
from tests.support.ports import free_ports


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, S3, MLflow and Prefect, empty; `Stack.client` is what a client needs in its environment."""
    stack = Stack.at(tmp_path_factory.mktemp("platform"), free_ports())
    with ExitStack() as until_end:
        for servers in ([postgres(stack), s3(stack)], [mlflow_server(stack), prefect_server(stack)]):
            until_end.enter_context(started(servers))
        yield stack
