"""Environment variables: read in one place, checked, and documented from there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dcube.errors import DcubeError
from dcube.runtime.processes import child_environment
from dcube.runtime.settings import ELSEWHERE, Settings, library_defaults, read_settings, settings_page
from tests.support.checkout import ROOT


def test_settings_page_is_up_to_date():
    page = ROOT / "docs/reference/settings.md"
    assert page.read_text(encoding="utf-8") == settings_page(), "python -m dcube.runtime.settings > " + str(page)


def test_every_variable_named_in_code_or_docs_is_a_setting():
    known = {name for field in Settings.model_fields for name in Settings.variables(field)} | ELSEWHERE.keys()
    files = [*ROOT.glob("*.md"), *ROOT.glob("*.yaml"), ROOT / "Makefile", *(ROOT / "docker").iterdir()]
    files += [path for folder in ("dcube", "flows", "docs") for path in (ROOT / folder).rglob("*")]
    for file in files:
        if file.suffix in (".py", ".md", ".yaml", ".json", ".Dockerfile", ".sh", ""):
            named = set(re.findall(r"\bDCUBE_[A-Z0-9_]*[A-Z0-9]\b", file.read_text()) if file.is_file() else [])
            assert named <= known, file


def test_wrong_value_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("DCUBE_CHECKPOINT_SECONDS", "abc")
    with pytest.raises(DcubeError, match=r"^DCUBE_CHECKPOINT_SECONDS=abc: input should be a valid number") as caught:
        read_settings()
    assert "\n" not in str(caught.value)


def test_wrong_value_ends_a_command_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("DCUBE_CHECKPOINT_SECONDS", "-1")
    ended = subprocess.run(
        [sys.executable, "-m", "dcube.cli", "models", "dcube-x"], cwd=tmp_path, capture_output=True, text=True,
        env=child_environment(code=ROOT),
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: DCUBE_CHECKPOINT_SECONDS=-1: ") and ended.stderr.count("\n") == 1


def test_empty_variable_counts_as_not_set(monkeypatch):
    for name in ("DCUBE_STORAGE", "DCUBE_PIPELINE", "MLFLOW_TRACKING_URI", "DCUBE_CHECKPOINTS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("DVC_EXP_NAME", "an-experiment")
    assert (read_settings().storage, read_settings().tracking_uri) == (None, None)
    assert read_settings().checkpoints == Path(".dcube/checkpoints")
    assert read_settings().pipeline == "an-experiment"
    monkeypatch.setenv("DCUBE_PIPELINE", "a-run")
    assert read_settings().pipeline == "a-run"


def test_library_defaults_yield_to_user_settings_and_end_with_the_block(monkeypatch):
    monkeypatch.setenv("DCUBE_STORAGE", "s3://theirs")
    monkeypatch.delenv("DCUBE_HOME", raising=False)
    with library_defaults({"DCUBE_STORAGE": "s3://ours", "DCUBE_HOME": "/ours"}):
        assert (read_settings().storage, read_settings().home) == ("s3://theirs", Path("/ours"))
    assert read_settings().home == Path("~/.dcube")


def test_child_process_runs_the_given_code_without_telemetry(monkeypatch, tmp_path):
    monkeypatch.setenv("DCUBE_STORAGE", "s3://bucket")
    environment = child_environment({"DCUBE_PIPELINE": "a-run"}, code=tmp_path, without=("DCUBE_",))
    assert "DCUBE_STORAGE" not in environment and environment["DCUBE_PIPELINE"] == "a-run"
    assert environment["DO_NOT_TRACK"] == "1" and environment["PYTHONPATH"].startswith(str(tmp_path))
