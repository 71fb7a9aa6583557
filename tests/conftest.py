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
