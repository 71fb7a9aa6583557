"""A git and DVC repository of the code as it stands here, in which the pipeline runs as a person runs it."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dcube.artifacts.layout import PARAMS
from dcube.config.schema import Params
from dcube.runtime.settings import read_settings
from dcube.tracking.local_store import adopt_artifacts
from tests.support.checkout import ROOT
from tests.support.discs import TINY

LONGEST = 600.0  # seconds that anything here may take on a busy machine
SMALL = TINY | {
    "data": {"name": "phantom", "image_size": 32, "diffusion_image_size": 16},
    "diffusion": TINY["diffusion"] | {"epochs": 8, "fid_every": 4, "batch_size": 32},
    "classifier": TINY["classifier"] | {"epochs": 4},
}  # fmt: skip


@dataclass(frozen=True)
class Finished:
    code: int
    output: str
    errors: str

    @property
    def ran(self) -> set[str]:
        """Stages that `dvc repro` ran."""
        start = "Running stage '"
        return {line.removeprefix(start).split("'")[0] for line in self.output.splitlines() if line.startswith(start)}


class WorkingCopy:
    """A git and DVC repository of the code as it stands here, with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        strange = ("DVC_", "DCUBE_", "MLFLOW_", "GIT_")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(strange)} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "DCUBE_CHECKPOINT_SECONDS": "0",
        }

    @classmethod
    def of_this_code(cls, folder: Path, without: str = "") -> "WorkingCopy":
        """The files as they stand here, those below the folder `without` left out, not committed yet."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file() and not (without and Path(name).is_relative_to(without)):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        return cls(folder)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words, cwd=self.folder, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, fails: bool = False) -> Finished:
        finished = finish(self.start(*words))
        assert (finished.code != 0) == fails, finished.output + finished.errors
        return finished

    def dvc(self, *words: str, fails: bool = False) -> Finished:
        return self.run("dvc", *words, fails=fails)

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=A Tester", "-c", "user.email=tester@example.org", "commit", "-qm", "A state")

    def set_params(self, **changes: dict) -> None:
        values = {name: SMALL.get(name, {}) | changes.get(name, {}) for name in {*SMALL, *changes}}
        (self.folder / PARAMS).write_text(Params.model_validate(values).to_yaml())

    def copy(self, folder: Path) -> "WorkingCopy":
        shutil.copytree(self.folder, folder, symlinks=True)
        adopt_artifacts(folder / "mlflow.db")
        return WorkingCopy(folder)

    def checkpoints(self, training: str) -> set[Path]:
        """Complete checkpoints: those whose checksum has been written."""
        return set((self.folder / read_settings().checkpoints).glob(f"{training}-*/step-*.sha256"))


def finish(process: subprocess.Popen[str]) -> Finished:
    output, errors = process.communicate(timeout=LONGEST)
    return Finished(process.returncode, output, errors)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command and the processes that it started together, as a power cut does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=LONGEST)
