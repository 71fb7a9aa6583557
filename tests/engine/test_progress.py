"""Progress of long work: lines in a log, and records for an orchestrator."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

from dcube.engine import progress as module
from dcube.engine.progress import progress


def test_progress_writes_log_lines_and_records(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("DCUBE_PROGRESS_FILE", str(tmp_path / "progress"))
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_UPDATES", 0.0)
    with progress("Sampling", total=4, unit="images", completed=1) as advance:
        for _ in range(3):
            advance(1, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Sampling: resumed at image 1 of 4"
    assert len(lines) == 4
    assert lines[1].startswith("Sampling: 2/4 images")
    assert "left" in lines[1]
    assert "loss 0.5" in lines[1]
    records = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert [record["completed"] for record in records] == [2, 3, 4]
    assert records[-1] | {"rate": 0} == {
        "format_version": 1,
        "description": "Sampling", "completed": 4, "total": 4, "unit": "images", "rate": 0,
        "remaining_s": pytest.approx(0.0), "values": {"loss": 0.5},
    }  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar_on_a_terminal_writes_nothing_to_stdout(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress("Reading", total=3, unit="images") as advance:
        advance(3)
    assert "Reading" in terminal.getvalue() and capsys.readouterr().out == ""


def test_short_work_prints_only_its_last_line(capsys) -> None:
    with progress("Reading", total=3, unit="images") as advance:
        for _ in range(3):
            advance()
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["Reading: 3/3 images"]


def test_remaining_time_follows_a_change_of_speed(monkeypatch, capsys) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    with progress("Training", total=1000, unit="steps") as advance:
        for seconds_of_step in [10.0] * 100 + [0.1] * 800:
            now += seconds_of_step
            advance()
    assert capsys.readouterr().err.splitlines()[-1].endswith("/1000 steps, 10 steps/s, 0:00:19 left")
