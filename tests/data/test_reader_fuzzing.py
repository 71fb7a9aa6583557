"""Damaged files of every kind: read or refused in one line, never a crash, a hang, or more memory than stated."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import reader_fuzzing
from tests.support.checkout import ROOT

MOST_MIB = 2048
MOST_SECONDS = 30


def fuzz(kind: str, count: int, folder: Path) -> None:
    folder.mkdir()
    command = [sys.executable, "-m", reader_fuzzing.__name__, kind, str(count), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + count, cwd=ROOT)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["refused"] > count / 20, "hardly any damage was noticed"
    assert outcome["refused"] + outcome.get("read", 0) == count
    assert outcome["slowest_s"] < MOST_SECONDS and outcome["peak_mib"] < MOST_MIB


@pytest.mark.slow
@pytest.mark.parametrize("kind", reader_fuzzing.KINDS)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    fuzz(kind, 60, tmp_path / "files")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", reader_fuzzing.KINDS)
def test_a_thousand_damaged_files_are_read_or_refused(kind, tmp_path):
    fuzz(kind, 1000, tmp_path / "files")
