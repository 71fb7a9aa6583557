"""Reports of a run to MLflow, kept on disk until they are sent: an absent server stops no training and loses nothing.

Each run has a folder below `.dcube/unsent` with `run.json` (what to create), `metrics.jsonl` and `artifacts/`. It is
deleted when everything has arrived. The next run delivers the folder of a killed process. Reports that MLflow refuses
are moved to `.dcube/unsent/refused`, so that they do not block others.
"""

import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from dcube.artifacts.schemas.run_header import MetricRow, RunHeader
from dcube.errors import DcubeError
from dcube.runtime.settings import library_defaults
from dcube.tracking.batches import milliseconds, send_datasets, send_metrics, send_params, send_tags
from dcube.tracking.mlflow_client import (
    FAIL_FAST,
    LOCKS,
    experiment_called,
    is_away,
    is_defect,
    is_denial,
    mlflow_key,
    reason_of,
    tracking_client,
)
from dcube.tracking.tags import PARENT, PIPELINE, PIPELINE_RUN, RUN_KEY, STAGE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

UNSENT = Path(".dcube/unsent")
REFUSED = UNSENT / "refused"
RUN = "run.json"  # in the folder of a run


class Outbox:
    """Reports of one run. `send` passes on MLflow's errors and may be repeated, because nothing is sent twice."""

    def __init__(self, header: RunHeader, folder: Path | None = None) -> None:
        self.header = header
        self.folder = folder or UNSENT / re.sub(r"[^\w-]", "_", header.tags[RUN_KEY])
        self.lock = _lock(self.folder)
        self.journal = self.folder / "metrics.jsonl"
        self.artifacts = self.folder / "artifacts"
        self.offset = 0
        self.last_step: dict[str, int] | None = None
        self.new_tags: dict[str, str] = {}
        self.parent = ""
        self.artifacts.mkdir(parents=True, exist_ok=True)
        self.save()

    def change(self, **values: Any) -> None:
        self.header = self.header.model_copy(update=values)
        self.save()

    def save(self) -> None:
        self.header.save(self.folder / RUN)

    def write_metrics(self, step: int, values: dict[str, float]) -> None:
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(MetricRow(step=step, time=milliseconds(), values=values).model_dump_json() + "\n")

    def set_tags(self, tags: dict[str, str]) -> None:
        self.new_tags |= tags
        self.change(tags=self.header.tags | tags)

    def finish(self, status: str) -> None:
        self.change(status=status)

    def send(self) -> None:
        with library_defaults(FAIL_FAST):
            client = tracking_client()
            if self.last_step is None:
                self._open(client)
            self._send_metrics(client)
            self._send_artifacts(client)
            if self.new_tags:
                send_tags(client, self._run_id, self.new_tags)
                self.new_tags = {}
            if self.header.status:
                for run_id in (self._run_id, self.parent):  # a pipeline gets the status of its last stage
                    client.set_terminated(run_id, self.header.status)
                self.remove()

    def remove(self) -> None:
        shutil.rmtree(self.folder)
        self.release()

    def set_aside(self, reason: str) -> str:
        """Move a run that MLflow refuses out of the way, and return a message about it."""
        message = _set_aside(self.folder, self.header.name, reason)
        self.release()
        return message

    def release(self) -> None:
        Path(self.lock.lock_file).unlink(missing_ok=True)
        self.lock.release()

    @property
    def _run_id(self) -> str:
        assert self.header.run_id
        return self.header.run_id

    def _open(self, client: "MlflowClient") -> None:
        """Find or create this run on the server, and find out which metrics have already arrived."""
        header = self.header
        experiment_id = experiment_called(client, header.experiment)
        self.parent = _parent(client, experiment_id, header.tags[PIPELINE])
        client.update_run(self.parent, status="RUNNING")
        tags = header.tags | {PARENT: self.parent}
        run = client.get_run(header.run_id) if header.run_id else _unfinished(client, experiment_id, tags[RUN_KEY])
        if run is None:
            run = client.create_run(experiment_id, header.start_time, tags, header.name)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
            send_tags(client, run.info.run_id, tags)
        self.change(run_id=run.info.run_id)
        self._describe(client, run)
        self.last_step = {
            key: max(point.step for point in client.get_metric_history(self._run_id, key)) for key in run.data.metrics
        }

    def _describe(self, client: "MlflowClient", run: "Run") -> None:
        sent = run.data.params
        send_params(client, self._run_id, {k: v for k, v in self.header.params.items() if mlflow_key(k) not in sent})
        if self.header.dataset and not (run.inputs and run.inputs.dataset_inputs):
            send_datasets(client, self._run_id, {self.header.name: self.header.dataset})

    def _send_metrics(self, client: "MlflowClient") -> None:
        from mlflow.entities import Metric

        assert self.last_step is not None
        if not self.journal.exists():
            return
        with self.journal.open("rb") as file:
            file.seek(self.offset)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]  # a killed process may have left half a line
        newest, metrics = dict(self.last_step), []
        for row in map(self._parsed, lines.splitlines()):
            for key, value in row.values.items():
                if row.step > newest.get(key, -1):  # a resumed training repeats what came after its checkpoint
                    newest[key] = row.step
                    metrics.append(Metric(key, value, row.time, row.step))
        send_metrics(client, self._run_id, metrics)
        self.last_step = newest
        self.offset += len(lines)

    def _parsed(self, line: bytes) -> MetricRow:
        try:
            return MetricRow.model_validate_json(line)
        except ValidationError:
            raise ValueError(f"{self.journal.name} has a damaged line") from None

    def _send_artifacts(self, client: "MlflowClient") -> None:
        files = [path for path in self.artifacts.rglob("*") if path.is_file()]
        if files:
            client.log_artifacts(self._run_id, str(self.artifacts))
        for path in files:
            path.unlink()


def deliver_left_behind(on_message: Callable[[str], None]) -> None:
    """Send the folders of runs that were killed or ended while the server was away.

    A folder that MLflow refuses is reported and set aside; one that may be accepted later is reported and kept. The
    others are sent. MLflow's error is raised if the server does not answer or refuses the credentials.
    """
    for record in sorted(UNSENT.glob(f"*/{RUN}")):
        try:
            header = RunHeader.load(record)
        except DcubeError as error:
            on_message(_set_aside(record.parent, record.parent.name, f"run.json cannot be read: {error}"))
            continue
        try:
            outbox = Outbox(header, record.parent)
        except DcubeError:  # its process is still running
            continue
        try:
            outbox.header = outbox.header.model_copy(update={"status": outbox.header.status or "KILLED"})
            outbox.send()
        except DcubeError as error:
            on_message(f"the run {outbox.header.name} waits in {outbox.folder}: {error}")
        except Exception as error:
            if is_away(error) or is_denial(error):
                raise
            if is_defect(error):
                on_message(outbox.set_aside(reason_of(error)))
            else:
                on_message(f"the run {outbox.header.name} waits in {outbox.folder}: {reason_of(error)}")
        finally:
            outbox.lock.release()


def fresh_key() -> str:
    return uuid.uuid4().hex


def _parent(client: "MlflowClient", experiment_id: str, pipeline: str) -> str:
    """Return the id of the parent run of all runs of one pipeline, which lasts from its first stage to its last."""
    tags = {PIPELINE: pipeline, STAGE: PIPELINE_RUN}
    with FileLock(LOCKS / "pipeline.lock"):
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = client.search_runs([experiment_id], wanted, max_results=1)
        if found:
            return found[0].info.run_id
        return client.create_run(experiment_id, tags=tags, run_name=f"pipeline {pipeline}").info.run_id


def _unfinished(client: "MlflowClient", experiment_id: str, key: str) -> "Run | None":
    wanted = f"tags.`{RUN_KEY}` = '{key}' and attributes.status != 'FINISHED'"
    return next(iter(client.search_runs([experiment_id], wanted, max_results=1)), None)


def _set_aside(folder: Path, name: str, reason: str) -> str:
    target = REFUSED / f"{folder.name}-{milliseconds()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    return (
        f"MLflow cannot take the run {name} ({reason}): it is kept in {target}; to send it again, move it to {UNSENT}"
    )


def _lock(folder: Path) -> FileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DcubeError(f"another process is running the same training ({folder}): wait for it, or stop it") from None
    return lock
