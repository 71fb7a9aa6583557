"""Servers started in order, kept running, and ended in the opposite order."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from dcube.errors import DcubeError
from flows.stack.server import Server

SECONDS_BETWEEN_LOOKS = 0.5
LONGEST_PAUSE = 60.0
STEADY_SECONDS = 60.0  # a server that has run for so long begins anew with short pauses


@contextmanager
def started(servers: list[Server]) -> Iterator[None]:
    """All of them started at once, and healthy."""
    with ExitStack() as until_end:
        for server in servers:
            until_end.callback(server.stop)
            server.start()
        for server in servers:
            server.wait_until_healthy()
        yield


@contextmanager
def kept_running(servers: list[Server], say: Callable[[str], None]) -> Iterator[None]:
    """Start any of them again that ends before the block does, after growing pauses."""
    end = threading.Event()
    watchers = [threading.Thread(target=_watch, args=(server, say, end)) for server in servers]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        end.set()
        for watcher in watchers:
            watcher.join()


def _watch(server: Server, say: Callable[[str], None], end: threading.Event) -> None:
    pause, since = 1.0, time.monotonic()
    while not end.wait(SECONDS_BETWEEN_LOOKS):
        if server.is_running():
            continue
        if time.monotonic() - since > STEADY_SECONDS:
            pause = 1.0
        say(f"{server.name} ended ({_manner(server)}); it is started again in {pause:.0f} s. Its log: {server.log}")
        if end.wait(pause):
            return
        pause, since = min(2 * pause, LONGEST_PAUSE), time.monotonic()
        try:
            server.start()
            server.wait_until_healthy()
            say(f"{server.name} is back")
        except DcubeError as error:
            say(str(error))


def _manner(server: Server) -> str:
    code = server.process.returncode if server.process else None
    return f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
