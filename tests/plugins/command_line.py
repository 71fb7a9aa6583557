"""Runs `dcube …` commands in this process."""

import sys
from collections.abc import Callable

import pytest

from dcube.cli import main as cli


@pytest.fixture
def run_dcube(capsys, monkeypatch) -> Callable[..., tuple[int, str]]:
    """Run a command, and return its exit code and output."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dcube", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return run
