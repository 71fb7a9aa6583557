"""A registered model answers all images below an S3 prefix, batch by batch, and says whether they are its kind."""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import pandas as pd
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.logging import get_run_logger
from prefect.states import Completed, State
from prefect.tasks import Task, exponential_backoff
from pydantic import Field

from dcube.artifacts.layout import CONFIG
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.errors import DcubeError, error_told
from dcube.inference import drift
from dcube.inference.bucket import (
    IDENTITY,
    NO_IMAGE,
    Job,
    answers_in,
    newest_of,
    put,
    stored_in,
    unanswered,
)
from dcube.registry.download import Fetched, fetch
from dcube.registry.versions import mlflow_errors_in_one_line
from dcube.runtime.s3 import Storage, StorageAwayError
from flows.reporting import StageProgress, slug
from flows.stage_process import BAD_INPUT, ProgressFile, StageError, watched

RETRIES = 3


@flow(name="predict", description="A registered model answers every image below an S3 prefix; drift is reported.")
def predict(
    model: Annotated[str, Field(min_length=1, description="MODEL@ALIAS or MODEL/VERSION: dcube-phantom@champion.")],
    source: Annotated[str, Field(pattern="^s3://", description="Prefix with the images: s3://bucket/studies/today.")],
    results: Annotated[str, Field(pattern="^s3://", description="Prefix for the answers: s3://bucket/answers.")],
    batch_size: Annotated[
        int, Field(ge=1, le=10_000, description="Objects whose answers make one Parquet file.")
    ] = 256,
    abstain_below: Annotated[
        float | None, Field(ge=0, le=1, description="No answer below this confidence. Empty: as it was evaluated.")
    ] = None,
) -> State[Any]:
    """Answer what is not answered yet; what stands in a finished batch's file is computed by no later run.

    Args:
        model: the version that answers. An alias is looked up once, at the beginning.
        source: where the images are: pictures, DICOM, NIfTI. Other files are counted and passed over.
        results: where the answers go, below MODEL/VERSION/abstain-below-…: Parquet, and drift.json.
        batch_size: what is lost at most when the process is killed.
        abstain_below: the least confidence of an answer.
    """
    with TemporaryDirectory(prefix="dcube-predict-") as folder, mlflow_errors_in_one_line():
        fetched = fetch(model, Path(folder))
        below = fetched.abstain_below if abstain_below is None else abstain_below
        images, answers = _places(source, results, fetched, below)
        job = Job(str(fetched.folder), images.address(), answers.address(), below, batch_size, [])
        score(job, Path(folder))
        rows = newest_of(stored_in(images), answers_in(answers))
        if not (rows["problem"] != NO_IMAGE).any():
            return Completed(name="Nothing there", message=f"There is no image below {images.address()}")
        return _report(rows[rows["problem"] != NO_IMAGE], fetched, answers)


def _worth_retrying(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """What only a person can mend is not tried again."""
    error = state.result(raise_on_failure=False)
    mendable = isinstance(error, DcubeError) and not isinstance(error, StorageAwayError | StageError)
    return not mendable and not (isinstance(error, StageError) and error.bad_input)


@task(
    task_run_name="answer",
    tags=["gpu"],
    cache_policy=NO_CACHE,
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(5),
    retry_condition_fn=_worth_retrying,
)
def score(job: Job, folder: Path) -> None:
    """What no finished batch holds, by one process, which loads the model once; another goes on where it is killed."""
    logger = get_run_logger()
    images, answers = Storage.at(job.source, "source"), Storage.at(job.results, "results")
    stored = stored_in(images)
    waiting = unanswered(stored, answers_in(answers, IDENTITY))
    logger.info("%d of %d objects below %s wait for an answer", len(waiting), len(stored), images.address())
    if not waiting:
        return
    job_file = folder / "job.json"
    replace(job, waiting=waiting).save(job_file)
    said: list[str] = []

    def told(line: str) -> None:
        said.append(line)
        logger.info(line)

    command = [sys.executable, "-m", "dcube.inference.batch", str(job_file)]
    code = watched(
        command, Path.cwd(), {}, ProgressFile(folder / "progress.jsonl"), told, StageProgress("predict").show
    )
    if code:
        reason = error_told(said) or (said or ["without a word"])[-1]
        raise StageError("predict", f"{reason} (exit code {code})", bad_input=code == BAD_INPUT, hindered=code < 0)


def _places(source: str, results: str, fetched: Fetched, below: float) -> tuple[Storage, Storage]:
    images = Storage.at(source.rstrip("/"), "source")
    home = Storage.at(results.rstrip("/"), "results")
    place = home.address(fetched.name, fetched.version, f"abstain-below-{below:g}")
    if home.bucket == images.bucket and f"{home.key()}/".startswith(f"{images.key()}/".lstrip("/")):
        raise DcubeError(f"results={results} lies below source={source}: answers would be taken for images")
    return images, Storage.at(place, "results")


def _report(rows: pd.DataFrame, fetched: Fetched, answers: Storage) -> State[Any]:
    """Counts and distances only: names of files stay in the Parquet files."""
    spec = CandidateConfig.load(fetched.folder / CONFIG).input
    found = drift.compare(rows, drift.load_reference(fetched.folder), spec)
    put(answers, "drift.json", drift.as_json(found).encode())
    key = slug(fetched.title)
    create_table_artifact(counts_of(rows), key=f"answers-{key}", description=f"Answers, in full at {answers.address()}")
    create_markdown_artifact(
        drift.as_markdown(found), key=f"drift-{key}", description="The new images beside those of validation"
    )
    refused = int((rows["problem"] != "").sum())
    drifted = [one.what.split(" (")[0] for one in found if one.drifted]
    message = f"{len(rows) - refused} images answered, {refused} refused: {answers.address()}"
    get_run_logger().info(message)
    if drifted:
        get_run_logger().warning("Drift: look at %s", ", ".join(drifted))
        return Completed(name="Drifted", message=f"{message}. Drift: {', '.join(drifted)}")
    return Completed(message=message)


def counts_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """How often each answer was given, and with which confidence."""
    shown = rows["answer"].where(rows["problem"] == "", "refused")
    table = []
    for answer, own in rows.groupby(shown):
        confidence = own["confidence"].median()
        table.append(
            {
                "answer": str(answer),
                "images": len(own),
                "share": f"{len(own) / len(rows):.1%}",
                "median confidence": "" if pd.isna(confidence) else f"{confidence:.3f}",
            }
        )
    return table
