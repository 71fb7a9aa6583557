"""A small git and DVC repository whose stages are a few lines of plain Python."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from dcube.config.schema import Params
from tests.support.metrics import made_metrics, made_predictions

DVC_YAML = """
stages:
  evaluate:
    desc: Measure a model
    matrix: {model: [dcube, control]}
    cmd: python stage.py outputs/evaluation/${item.model}/metrics.json outputs/model
    deps: [outputs/model, stage.py]
    params: [evaluation]
    outs: ["outputs/evaluation/${item.model}"]
    meta: {gpu: true, retries: 1, timeout_minutes: 5}
  prepare:
    desc: Raw data to arrays
    cmd: python stage.py outputs/prepared data/raw.txt
    deps: [data, stage.py]
    params: [data]
    outs: [outputs/prepared]
  train:
    desc: Train a model
    cmd: python stage.py outputs/model outputs/prepared
    deps: [outputs/prepared, stage.py]
    params: [diffusion]
    outs: [outputs/model]
    meta: {gpu: true}
"""

STAGE = (
    f"METRICS, PREDICTIONS = {made_metrics().model_dump_json()!r}, {made_predictions()!r}\n"
    + """
import json, os, sys
from pathlib import Path

out, source = map(Path, sys.argv[1:])
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(METRICS if out.suffix == ".json" else source.read_text() + out.name)
if out.suffix == ".json":
    (out.parent / "predictions.csv").write_text(PREDICTIONS)
record = {"format_version": 1, "description": "Working", "completed": 5, "total": 10, "unit": "steps", "rate": 2.0,
          "remaining_s": 2.5, "values": {"loss": 0.25}}
with open(os.environ["DCUBE_PROGRESS_FILE"], "a") as file:
    file.write(json.dumps(record) + chr(10))
with Path(os.environ["RAN"]).open("a") as file:
    file.write(os.environ["DVC_STAGE"] + chr(10))
"""
)


def command(folder: Path, *words: str) -> str:
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout


def dvc(folder: Path, *words: str) -> str:
    return command(folder, sys.executable, "-m", "dvc", *words)


def build(folder: Path) -> None:
    command(folder, "git", "init", "--quiet")
    command(folder, "git", "config", "user.name", "A Tester")
    command(folder, "git", "config", "user.email", "tester@example.org")
    dvc(folder, "init", "--quiet")
    (folder / "data/phantom").mkdir(parents=True)  # what the default parameters name
    (folder / "data/phantom/image.txt").touch()
    (folder / "data/raw.txt").write_text("raw ")
    dvc(folder, "add", "--quiet", "data")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "stage.py").write_text(STAGE)
    (folder / "params.yaml").write_text(Params().to_yaml())
    with (folder / ".gitignore").open("a") as file:
        file.write("/outputs/\n/.dcube/\n/mlflow.db\n")
    command(folder, "git", "add", "--all")
    command(folder, "git", "commit", "--quiet", "--message", "A small pipeline")


def checkout_of(repository: Path) -> dict[str, str]:
    """The hash of every file that people work with, git's index included."""
    files = [*repository.glob("*"), *repository.glob("data/*"), repository / ".gitignore", repository / ".git/index"]
    hashes = {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}
    return hashes | {
        "status": command(repository, "git", "--no-optional-locks", "status", "--porcelain"),
        "head": head(repository),
    }


def head(repository: Path) -> str:
    return command(repository, "git", "rev-parse", "HEAD").strip()


def workspaces(repository: Path) -> list[Path]:
    return [path for path in (repository / ".dcube/workspaces").glob("*") if path.is_dir()]  # beside their locks


def rewrite(repository: Path, name: str, old: str, new: str) -> None:
    """Change a file and commit it."""
    file = repository / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    command(repository, "git", "commit", "--quiet", "--all", "--message", "A change")


HANG = """
import os, subprocess, sys, time
if sys.argv[1] == "outputs/model":
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", script])
    with open(os.environ["PIDS"], "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    print("hanging", flush=True)
    time.sleep(600)
import json,"""


def assert_gone(pid_file: Path) -> None:
    """Check that the processes that the stage noted down have ended (or are zombies)."""
    for pid in map(int, pid_file.read_text().split()):
        deadline = time.monotonic() + 5
        while alive(pid):
            assert time.monotonic() < deadline, f"process {pid} is still there"
            time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
