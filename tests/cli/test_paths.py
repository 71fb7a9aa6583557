"""Paths as they are typed. A shell makes an empty one of a variable without a value."""

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
def test_an_empty_path_is_no_folder(tmp_path, monkeypatch, run_dcube, words, path):
    """Not even where this folder is a data set."""
    monkeypatch.chdir(class_folders(tmp_path))
    assert run_dcube(*(path if word == "PATH" else word for word in words.split())) == (2, EMPTY + "\n")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ill", "well"]


def test_the_folder_of_the_servers_may_not_be_empty(tmp_path):
    command = [sys.executable, "-m", "flows.stack", "--folder", ""]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (2, EMPTY + "\n") and not list(tmp_path.iterdir())


def test_an_empty_path_in_python_is_no_folder():
    with pytest.raises(DcubeError, match="a path is empty"):
        api.evaluate("model@champion", "")
    with pytest.raises(DcubeError, match="a path is empty"):
        api.evaluate("model@champion", ".", output="")


def test_a_path_that_does_not_exist_is_told_before_the_model_is_loaded(run_dcube):
    assert run_dcube("evaluate", "model@champion", "nowhere", "--name", "other") == (
        2,
        "error: nowhere does not exist: give a file or a folder\n",
    )
    with pytest.raises(DcubeError, match="nowhere does not exist"), collect_images([Path("nowhere")]):
        pass
