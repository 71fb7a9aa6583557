"""The platform's servers on free ports. Starting them takes 20 seconds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.stack.postgres import postgres
from flows.stack.servers import artifacts, mlflow, prefect, s3
from flows.stack.settings import Stack
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
