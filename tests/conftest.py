"""What every test process starts with. Fixtures stand in `plugins/`, plain functions and toy data in `support/`."""

import os

import pytest

# Before torch is imported: these tests are too small to gain from threads, which only disturb other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.register_assert_rewrite("tests.support")

pytest_plugins = [
    "tests.plugins.browser",
    "tests.plugins.command_line",
    "tests.plugins.datasets",
    "tests.plugins.platform",
    "tests.plugins.repositories",
    "tests.plugins.servers",
    "tests.plugins.tracking",
]

SERVERS = ("prefect_server", "mlflow_server", "platform")  # fixtures that take long to start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Among several processes (`--dist loadgroup`) a server is started in one of them, which begins with its tests.

    The other tests of a file stay together, for what the file's fixtures have computed.
    """
    for item in items:
        server = next((name for name in SERVERS if name in getattr(item, "fixturenames", ())), None)
        item.add_marker(pytest.mark.xdist_group(server or str(item.path)))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] not in SERVERS)
