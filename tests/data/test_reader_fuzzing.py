"""Damaged files of every kind are read or refused, without a crash, a hang or too much memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import reader_fuzzing
from tests.support.checkout import ROOT

MOST_MIB = 2048


def fuzz(container: str, count: int, folder: Path) -> None:
    folder.mkdir()
    command = [sys.executable, "-m", reader_fuzzing.__name__, container, str(count), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + count, cwd=ROOT)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["refused"] > count / 20, "hardly any damage was noticed"
    assert outcome["refused"] + outcome.get("read", 0) == count
    assert outcome["slowest_s"] < reader_fuzzing.MOST_SECONDS and outcome["peak_mib"] < MOST_MIB


@pytest.mark.slow
@pytest.mark.parametrize("container", reader_fuzzing.CONTAINERS)
def test_damaged_files_are_read_or_refused(container, tmp_path):
    """For 10,000 files of one kind: `python -m tests.support.reader_fuzzing CONTAINER 10000 FOLDER`."""
    fuzz(container, 100, tmp_path / "files")
