"""Stages started a second: forks of one server, against processes that import the libraries themselves."""

import os
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import psutil

from benchmarks.measure import Result, Setting, interleaved, speed
from dcube.artifacts.layout import GRAPH, PARAMS
from dcube.config.schema import Params
from dcube.stages.process import forkserver

STAGE = "train_classifier"
CODE = Path(__file__).parents[1]


def benchmark(setting: Setting) -> list[Result]:
    """CPU seconds of all processes until a stage has imported its code and misses its inputs."""
    with tempfile.TemporaryDirectory() as folder:
        alone, forked = (_working_copy(Path(folder, name)) for name in ("alone", "forked"))
        (forked / forkserver.FOLDER).mkdir(parents=True)  # without it, a stage runs in its own process
        timing = interleaved(partial(_start, alone), partial(_start, forked), setting.repeats, clock=_cpu_seconds)
        _server().kill()
    return [speed("stage start", "", "starts", (1, 1), timing, remark="without the first of a `dvc repro`")]


def _working_copy(folder: Path) -> Path:
    folder.mkdir()
    (folder / PARAMS).write_text(Params().to_yaml())
    (folder / GRAPH).write_bytes((CODE / GRAPH).read_bytes())
    return folder


def _start(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(CODE), "DVC_STAGE": STAGE}
    command = [sys.executable, "-m", "dcube.stages", STAGE]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert "dataset.json is missing" in done.stderr, done.stderr


def _cpu_seconds() -> float:
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ours.ru_utime + ours.ru_stime
    if server := _server():
        times = server.cpu_times()
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def _server() -> psutil.Process | None:
    words = [forkserver.__name__, str(os.getpid())]
    return next((it for it in psutil.process_iter(["cmdline"]) if (it.info["cmdline"] or [])[2::2] == words), None)
