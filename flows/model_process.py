"""What the flows that use a registered model share: their folder, the model's process as a task, the end with drift."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.states import Completed, State
from prefect.tasks import exponential_backoff

from dcube.artifacts.schemas.drift import DriftRow
from dcube.errors import BAD_INPUT, DcubeError, last_error
from dcube.inference import drift
from dcube.repository.workspace import workspaces_of
from dcube.runtime.process_output import ProgressFile, follow
from dcube.runtime.processes import child_environment
from dcube.runtime.s3 import StorageUnavailableError
from flows.prefect_api import retry_if, this_run
from flows.reporting import StageProgress
from flows.stage_errors import StageError


def _worth_retrying(error: object, _: int) -> bool:
    """Return false for errors that only a user can correct."""
    user_error = isinstance(error, DcubeError) and not isinstance(error, StorageUnavailableError | StageError)
    return not user_error and not (isinstance(error, StageError) and error.bad_input)


TASK: dict[str, Any] = {  # options of every task of these flows
    "cache_policy": NO_CACHE,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(5),
    "retry_condition_fn": retry_if(_worth_retrying),
}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder for the images and weights of this attempt, and remove it at the end.

    It lies where workspaces lie: if the flow is killed, `housekeeping` removes it as it removes those.
    """
    of_run = workspaces_of(Path.cwd()) / str(this_run())
    of_run.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(dir=of_run) as folder:
            yield Path(folder)
    finally:
        with suppress(OSError):  # another attempt may use it
            of_run.rmdir()


def run_module(
    name: str, words: Sequence[str], folder: Path, variables: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Run `python -m WORDS` with the code of the present folder; its output is the log of the task.

    Args:
        name: name of the progress artifact, and in errors.
        folder: temporary folder of the run. Output shows paths in it relative to it.
        variables: environment variables of the process.

    Raises:
        StageError: if it fails, with its error line.
    """
    logger = get_run_logger()
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line.replace(f"{folder}/", ""))
        logger.info(lines[-1])

    command, here = [sys.executable, "-m", *words], Path.cwd()
    environment = child_environment({"PYTHONUNBUFFERED": "1", **variables}, code=here)
    progress = ProgressFile(folder / "progress.jsonl", StageProgress(name).show)
    if code := follow(command, here, environment, on_line, progress):
        reason = last_error(lines) or (lines or ["no message"])[-1]
        raise StageError(name, f"{reason} (exit code {code})", bad_input=code == BAD_INPUT, interrupted=code < 0)


def completed(message: str, found: list[DriftRow], key: str) -> State[Any]:
    """Show the drift of the new images as an artifact, and return the run's last state, `Drifted` if there is any."""
    create_markdown_artifact(
        drift.as_markdown(found), key=key, description="The new images compared with those of validation"
    )
    get_run_logger().info(message)
    if not any(one.drifted for one in found):
        return Completed(message=message)
    words = drift.drifted_in_words(found).removesuffix(".")
    get_run_logger().warning(words)
    return Completed(name="Drifted", message=f"{message}. {words}")
