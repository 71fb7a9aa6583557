"""Paths on the command line. An unset shell variable gives an empty path."""

import subprocess
import sys
from pathlib import Path

import pytest

from dcube import api
from dcube.errors import DcubeError
from dcube.inference.inputs import collect_images
from tests.support.raw_sets import class_folders

EMPTY = "error: a path is empty: give one, or . for this folder"


@pytest.mark.parametrize("path", ["", " "])
@pytest.mark.parametrize(
    "words",
    [
        "data check PATH", "data add mine PATH", "data find PATH 00ff", "predict model@champion PATH",
        "predict model@champion . PATH", "predict model@champion . --output PATH",
        "predict model@champion . --heatmaps PATH", "evaluate model@champion PATH --name other",
        "evaluate model@champion . --name other --output PATH", "report --output PATH",
    ],
)  # fmt: skip
def test_empty_path_is_refused(tmp_path, monkeypatch, run_dcube, words, path):
    """It is refused even if the current folder is a data set."""
    monkeypatch.chdir(class_folders(tmp_path))
    assert run_dcube(*(path if word == "PATH" else word for word in words.split())) == (2, EMPTY + "\n")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ill", "well"]


def test_empty_folder_of_the_servers_is_refused(tmp_path):
    command = [sys.executable, "-m", "flows.stack", "--folder", ""]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (2, EMPTY + "\n") and not list(tmp_path.iterdir())


def test_empty_path_is_refused_by_the_python_api():
    with pytest.raises(DcubeError, match="a path is empty"):
        api.evaluate("model@champion", "")
    with pytest.raises(DcubeError, match="a path is empty"):
        api.evaluate("model@champion", ".", output="")


def test_missing_path_is_refused_before_the_model_is_loaded(run_dcube):
    assert run_dcube("evaluate", "model@champion", "nowhere", "--name", "other") == (
        2,
        "error: nowhere does not exist: give a file or a folder\n",
    )
    with pytest.raises(DcubeError, match="nowhere does not exist"), collect_images([Path("nowhere")]):
        pass
