"""Long work shows itself: lines in a log, records for an orchestrator."""

import json

import pytest

from dcube.engine import progress as module
from dcube.engine.progress import progress


def test_lines_in_a_log_and_records(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("DCUBE_PROGRESS_FILE", str(tmp_path / "progress"))
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_RECORDS", 0.0)
    with progress("Sampling", total=4, unit="images", completed=1) as advance:
        for _ in range(3):
            advance(1, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("Sampling: 2/4 images")
    assert "left" in lines[0]
    assert "loss 0.5" in lines[0]
    records = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert [record["completed"] for record in records] == [2, 3, 4]
    assert records[-1] | {"rate": 0} == {
        "description": "Sampling", "completed": 4, "total": 4, "unit": "images", "rate": 0,
        "remaining_s": pytest.approx(0.0), "values": {"loss": 0.5},
    }  # fmt: skip


def test_short_work_prints_its_end_only(capsys) -> None:
    with progress("Reading", total=3, unit="images") as advance:
        for _ in range(3):
            advance()
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["Reading: 3/3 images"]
