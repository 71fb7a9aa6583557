"""Two users of one clone, of whom the first works with umask 077: commands say whose file stops them."""

import logging
import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from dcube.cli.doctor import doctor
from dcube.errors import one_line_errors
from flows.prefect_api import log_errors_in_one_line

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as two users")
SECOND = 65534


@pytest.fixture
def clone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Working copy of root in which DVC and D-Cube have worked, in a folder that everybody can enter."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        monkeypatch.chdir(root)
        subprocess.run(["git", "init", "--quiet"], check=True)
        for name in (".dvc/tmp", ".dcube"):
            (root / name).mkdir(parents=True)
        (root / ".dvc/config").touch()
        for private in (".dvc/tmp/lock", ".dcube/adding.lock"):
            (root / private).touch(mode=0o600)
        yield root


def said_as_second_user(work: Callable[[], object], clone: Path) -> str:
    """What `work` prints as another user, in a process of its own."""
    output = clone / "said.txt"
    output.touch()
    child = os.fork()
    if child == 0:
        descriptor = os.open(output, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        code = 70
        try:
            os.setgroups([])
            os.setgid(SECOND)
            os.setuid(SECOND)
            work()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in {0, 2}, output.read_text()
    return output.read_text()


def test_command_names_the_owner_of_the_file_that_stops_it(clone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        with one_line_errors():
            (clone / ".dcube/adding.lock").open("w")

    with capfd.disabled():
        said = said_as_second_user(write, clone)
    assert said == f"error: {clone}/.dcube/adding.lock belongs to root: {said.partition('root: ')[2]}"
    assert "use a clone of your own, or `umask 002`" in said


def test_log_of_a_flow_names_the_owner_without_a_traceback(clone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def log() -> None:
        log_errors_in_one_line()
        logger = logging.getLogger("prefect.flow_runs")
        logger.handlers, logger.propagate = [logging.StreamHandler()], False
        try:
            (clone / ".dvc/tmp/lock").open("w")
        except PermissionError:
            logger.exception("Encountered an exception")

    with capfd.disabled():
        said = said_as_second_user(log, clone)
    assert f"{clone}/.dvc/tmp/lock belongs to root" in said and "Traceback" not in said


def test_doctor_names_the_owner(clone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for module in ("repository.dvc_internals", "repository.workspace", "registry.presence", "tracking.mlflow_client"):
        import_module(f"dcube.{module}")  # the second user may be unable to read this Python's files

    def examine() -> None:
        os.environ |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        with one_line_errors():
            doctor()

    with capfd.disabled():
        said = said_as_second_user(examine, clone)
    assert f"{clone}/.dvc/tmp belongs to root: use a clone of your own" in said
