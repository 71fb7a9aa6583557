"""One MLflow run per stage: parameters, metrics over steps, pictures, the data set, and its origin."""

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception

from dcube.artifacts.schemas.run_header import RunHeader
from dcube.config.loading import flattened
from dcube.data.prepared import PreparedDataset
from dcube.errors import DcubeError
from dcube.runtime import retries
from dcube.runtime.settings import read_settings
from dcube.tracking import lineage
from dcube.tracking.batches import milliseconds, rounded
from dcube.tracking.datasets import dataset_entity
from dcube.tracking.inputs import refuse_changed_inputs
from dcube.tracking.mlflow_client import DENIED, FORBIDDEN, is_denial, is_forbidden, is_refusal, mlflow_key, reason_of
from dcube.tracking.outbox import Outbox, deliver_left_behind, fresh_key
from dcube.tracking.tags import RUN_KEY

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TrackedRun:
    """Collector of a stage's reports that sends them to MLflow. No method raises because a server is away."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._next_attempt = 0.0
        self._failures = 0  # since the last success
        self.problem = ""  # reason why the last attempt failed

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until a server has been reached."""
        return self._outbox.header.run_id

    def log_metrics(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Log rows of `{"step": int, name: value, …}`, with ascending steps for each name."""
        for row in rows:
            values = {mlflow_key(key): rounded(value) for key, value in row.items() if key != "step"}
            self._outbox.write_metrics(int(row["step"]), values)
        self.flush()

    def log_figure(self, figure: "Figure | Path", name: str) -> None:
        """Log a Matplotlib figure or an image file at the artifact path `name` (with its suffix)."""
        target = self._artifact(name)
        if isinstance(figure, Path):
            shutil.copyfile(figure, target)
        else:
            figure.savefig(target, dpi=150, bbox_inches="tight")
        _show(target, name)
        self.flush()

    def log_artifacts(self, folder: Path, artifact_path: str = "") -> None:
        shutil.copytree(folder, self._outbox.artifacts / artifact_path, dirs_exist_ok=True)
        for picture in sorted(folder.glob("*.png")):
            _show(picture, picture.name)
        self.flush()

    def log_text(self, text: str, name: str) -> None:
        self._artifact(name).write_text(text, encoding="utf-8")
        self.flush()

    def set_tags(self, tags: Mapping[str, object]) -> None:
        self._outbox.set_tags({key: str(value) for key, value in tags.items()})
        self.flush()

    def flush(self) -> None:
        """Send the waiting reports, unless the last attempt was too recent."""
        if time.monotonic() < self._next_attempt:
            return
        try:
            self._outbox.send()
            self._failures, self.problem = 0, ""
        except Exception as error:  # no error of the tracking may stop the training
            self.problem = _problem(error)
            if not self._failures:
                print(f"{self.problem}; continuing, metrics are sent later", file=sys.stderr)
            self._failures += 1
        self._next_attempt = time.monotonic() + retries.SEND_TRACKING.pause_after(self._failures)

    def wait_for_server(self) -> str:
        """Return MLflow's id of the run, for stages that are useless without a server.

        Raises:
            DcubeError: if no server answers in the time that a finished run waits for one, or if it refuses the run.
        """
        try:
            _while_it_may_pass("FINISHED")(self._outbox.send)
        except Exception as error:
            self.problem = _problem(error)
        if self.run_id is None:
            raise DcubeError(f"{self.problem}: nothing can be registered without MLflow (MLFLOW_TRACKING_URI)")
        return self.run_id

    def close(self, status: str) -> None:
        """End the run. Reports that are not sent within the status's timeout are sent by the next run."""
        self._outbox.finish(status)
        try:
            _while_it_may_pass(status)(self._outbox.send)
        except Exception as error:
            print(f"warning: {self._leave(error)}", file=sys.stderr)

    def _leave(self, error: Exception) -> str:
        """Release or set aside the unsent reports, and return a message that says where they are."""
        if is_refusal(error):
            return self._outbox.set_aside(reason_of(error))
        self._outbox.release()
        return f"{_problem(error)}; this run waits in {self._outbox.folder} and is sent with the next stage"

    def _artifact(self, name: str) -> Path:
        target = self._outbox.artifacts / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


@contextmanager
def tracked_run(
    stage: str, params: Mapping[str, Any], dataset: PreparedDataset | None = None, run_key: str | None = None
) -> Iterator[TrackedRun]:
    """Yield the MLflow run of one stage.

    An exception ends the run as FAILED, and an interruption or SIGTERM as KILLED. The exception is raised again.

    Args:
        stage: DVC's name of the stage, `evaluate@baseline` for an item of a matrix.
        params: parameter groups by name (dicts or pydantic models, with any nesting).
        dataset: data set that the stage reads.
        run_key: key of the training, with which a killed and restarted training continues the same run.
    """
    header = RunHeader(
        experiment=f"dcube/{dataset.name}" if dataset else "dcube",
        name=stage,
        tags=lineage.lineage_tags(stage) | {RUN_KEY: run_key or fresh_key()},
        params={key: str(value) for key, value in flattened(params).items()},
        dataset=dataset_entity(dataset) if dataset else None,
        start_time=milliseconds(),
    )
    _deliver_quietly()
    run = TrackedRun(Outbox(header))
    run.flush()
    with _on_sigterm(signal.SIG_IGN):  # a second SIGTERM must not interrupt the closing of the run
        try:
            with _on_sigterm(_terminate):
                yield run
                refuse_changed_inputs()
        except (KeyboardInterrupt, Terminated):
            run.close("KILLED")
            raise
        except BaseException:
            run.close("FAILED")
            raise
        run.close("FINISHED")


class Terminated(SystemExit):
    """SIGTERM as an exception, so that `finally` and `with` blocks end properly; the exit code is the usual one."""


def _show(picture: Path, name: str) -> None:
    """Copy a PNG to the orchestrator's folder for pictures, if `DCUBE_PICTURES` names one.

    Pictures of one series, such as "samples/step-0000100.png", replace one another there as "samples.png".
    """
    shown = read_settings().pictures
    if shown and name.endswith(".png"):
        series = Path(name).parts[0] if "step-" in name else Path(name).stem
        copy = shown / f".{series}.png"
        shutil.copyfile(picture, copy)
        copy.replace(copy.with_name(f"{series}.png"))


def _while_it_may_pass(status: str) -> Retrying:
    return retries.CLOSE_TRACKING[status].retrying(Exception, retry=retry_if_exception(_may_pass))


def _may_pass(error: BaseException) -> bool:
    """Return whether a retry may succeed, which is not the case if a person has to correct something."""
    return not (isinstance(error, DcubeError) or is_refusal(error) or is_denial(error) or is_forbidden(error))


def _problem(error: Exception) -> str:
    """Describe why a run cannot be sent."""
    if isinstance(error, DcubeError):
        return str(error)
    if is_refusal(error):
        return f"MLflow refuses this run ({reason_of(error)})"
    if is_denial(error):
        return f"MLflow {DENIED}"
    if is_forbidden(error):
        return f"MLflow {FORBIDDEN}"
    return f"MLflow does not answer ({type(error).__name__})"


def _deliver_quietly() -> None:
    try:
        deliver_left_behind(lambda message: print(f"warning: {message}", file=sys.stderr))
    except Exception as error:  # the server is still away, so earlier reports continue to wait
        print(f"{_problem(error)}: earlier runs are still unsent", file=sys.stderr)


def _terminate(number: int, _frame: object) -> None:
    raise Terminated(128 + number)


@contextmanager
def _on_sigterm(handler: Callable[[int, Any], None] | signal.Handlers) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
