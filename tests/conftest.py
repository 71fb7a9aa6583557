"""What every test process starts with. Fixtures stand in `plugins/`, plain functions and toy data in `support/`."""

import gc
import os
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from dcube.runtime.processes import NEW_OBJECTS

# Before torch is imported: these tests are too small to gain from threads, which only disturb other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.set_threshold(NEW_OBJECTS)  # as commands do

# A machine with other work is slow now and then; that says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

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

# Fixtures that take long: a working copy in which the pipeline runs, and servers. Whose tests take longest is first.
SLOW = ("fresh", "prefect_server", "platform")
SHARED = (*SLOW, "started_mlflow_server")
# Then files of minutes: at the end, one process would wait for another.
LONG = tuple(
    f"tests/{name}.py"
    for name in ("engine/test_distributed", "stack/test_stack", "registry/test_mlflow_ui", "flows/test_worker")
)
FIRST = (*SHARED, *LONG)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A path that no test had before: pytest gives the next test that of one that passed, and MLflow keeps databases
    open by their paths."""
    folder = tmp_path / uuid4().hex[:8]
    folder.mkdir()
    return folder


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes (`--dist loadgroup`) one makes what is shared, and begins with the tests that need it.

    The other tests of a file stay together, for what the file's own fixtures have computed. A test is slow whose
    fixture is.
    """
    group = {}
    for item in items:
        shared = next((name for name in SHARED if name in getattr(item, "fixturenames", ())), None)
        group[item] = shared or item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group[item]))
        if shared in SLOW:
            item.add_marker("slow")
    items.sort(key=lambda item: FIRST.index(group[item]) if group[item] in FIRST else len(FIRST))
