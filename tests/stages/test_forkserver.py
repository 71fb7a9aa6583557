"""The process that forks for the stages of one `dvc repro`: their output, their exit codes, and their end."""

import copy
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from dcube.artifacts.layout import PARAMS, PREPARED
from dcube.config.schema import Params
from dcube.stages.process.forkserver import LIBRARIES
from tests.support.checkout import ROOT
from tests.support.discs import TINY, write_dataset
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="stages are not forked on this system"),
]

# Takes the place of DVC: it runs the commands of its input in turn, with the variables `NAME=VALUE` in them, and prints
# process and exit code of each.
OWNER = """
import os, subprocess, sys
for line in sys.stdin:
    words = [word for word in line.split() if "=" not in word]
    own = dict(word.split("=") for word in line.split() if "=" in word)
    stage = subprocess.Popen([sys.executable, "-m", "dcube.stages", *words], env=os.environ | own)
    print(stage.pid, flush=True)
    print(stage.wait(), flush=True)
"""


class Owner:
    def __init__(self, folder: Path) -> None:
        self.errors = folder / "errors.txt"
        own = {"PYTHONPATH": str(ROOT), "DVC_STAGE": "train_diffusion"}
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", OWNER], cwd=folder, env=os.environ | own, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip

    def start(self, command: str) -> int:
        """Start a stage, and return the id of the process that DVC would know."""
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._number()

    def ended(self) -> int:
        return self._number()

    def _number(self) -> int:
        return int(self.process.stdout.readline())

    def training(self) -> tuple[int, psutil.Process]:
        """Start a training, and return what `start` returns and the fork, once the training runs."""
        before = self.errors.read_text().count("FID at step")
        client = self.start("train_diffusion")
        wait_until(lambda: self.errors.read_text().count("FID at step") > before)
        (fork,) = self.server().children()
        return client, fork

    def server(self) -> psutil.Process:
        """The server of this owner; it is a child of the first stage, which has ended."""
        words = ["dcube.stages.process.forkserver", str(self.process.pid)]
        found = [it for it in psutil.process_iter(["cmdline"]) if (it.info["cmdline"] or [])[2::2] == words]
        (server,) = (process for process in found if process.parent() not in found)
        return server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    values = copy.deepcopy(TINY)
    values["diffusion"]["epochs"] = 10_000
    write_dataset(folder / PREPARED)
    (folder / PARAMS).write_text(Params.model_validate(values).to_yaml())
    (folder / ".dvc/tmp").mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", folder)
    return folder


@contextmanager
def started(folder: Path) -> Iterator[Owner]:
    owner = Owner(folder)
    try:
        yield owner
    finally:
        owner.process.kill()


@pytest.fixture(scope="module")
def owner(folder: Path) -> Iterator[Owner]:
    with started(folder) as owner:
        yield owner


def test_all_stages_of_an_owner_are_forks_of_one_server(owner: Owner) -> None:
    servers = []
    for number in (1, 2):
        owner.start(f"nothing {number}")
        assert owner.ended() == 2
        servers.append(owner.server().pid)
    assert servers[0] == servers[1]
    said = "error: `nothing` is no stage's command: dvc.yaml lists them"
    assert owner.errors.read_text().splitlines() == [said] * 2


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["SIGTERM", "SIGKILL"],
)
def test_stage_ends_when_the_process_that_dvc_started_is_stopped(
    owner: Owner, number: signal.Signals, code: int
) -> None:
    client, fork = owner.training()
    os.kill(client, number)
    assert owner.ended() == code
    psutil.wait_procs([fork], timeout=20)
    assert not fork.is_running()


def test_killed_stage_ends_the_process_that_dvc_started(owner: Owner) -> None:
    _, fork = owner.training()
    fork.kill()
    assert owner.ended() == -signal.SIGKILL


def test_each_stage_runs_the_code_and_has_the_environment_of_its_own_start(tmp_path: Path) -> None:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    shutil.copytree(ROOT / "dcube", tmp_path / "dcube", ignore=shutil.ignore_patterns("__pycache__"))
    code = tmp_path / "dcube/stages/shown.py"
    with started(tmp_path) as owner:
        for number in (1, 2):
            code.write_text(
                f"import os, sys\n\ndef main(): print('code {number}', os.environ['SHOWN'], file=sys.stderr)"
            )
            owner.start(f"SHOWN={number} shown")
            assert owner.ended() == 0
        assert owner.errors.read_text().splitlines() == ["code 1 1", "code 2 2"]


def test_server_imports_nothing_that_a_stage_depends_on() -> None:
    """A stage would run it as it was when the server started, and DVC record it as it is."""
    program = f"import sys, {', '.join(('dcube.stages.process.forkserver', *LIBRARIES))}\nprint(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    own = [ROOT / f"{module.replace('.', '/')}.py" for module in imported.stdout.split() if module.startswith("dcube.")]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    deps = {ROOT / dep for stage in stages for dep in stage["deps"]}
    assert [file for file in own if deps & {file, *file.parents}] == []


def test_ctrl_c_ends_in_one_line(owner: Owner) -> None:
    client, fork = owner.training()
    os.kill(client, signal.SIGINT)  # a terminal sends it to both
    fork.send_signal(signal.SIGINT)
    assert owner.ended() == 128 + signal.SIGINT
    assert owner.errors.read_text().endswith("interrupted: `dvc repro` continues this stage\n")


def test_stage_runs_in_its_own_process_where_no_server_can_listen(tmp_path: Path) -> None:
    """Some shared folders do not support sockets; here the folder of the socket is missing."""
    with started(tmp_path) as owner:
        owner.start("nothing")
        assert owner.ended() == 2
        assert owner.errors.read_text() == "error: `nothing` is no stage's command: dvc.yaml lists them\n"


def test_no_process_or_file_is_left_when_dvc_is_killed(folder: Path) -> None:
    with started(folder) as owner:
        _, fork = owner.training()
        server = owner.server()
        owner.process.kill()
        _, alive = psutil.wait_procs([fork, server], timeout=20)
        assert not alive
        assert not (folder / f".dvc/tmp/forkserver-{owner.process.pid}").exists()
