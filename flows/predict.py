"""Flow that predicts with a registered model on all images below an S3 prefix, batch by batch, and reports drift."""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed, State
from pydantic import Field

from dcube.artifacts.layout import CONFIG, REFERENCE
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.drift import DriftReference, DriftReport
from dcube.artifacts.schemas.job import BatchJob
from dcube.errors import DcubeError
from dcube.inference import drift
from dcube.inference.bucket import (
    IDENTITY,
    NO_IMAGE,
    current_predictions,
    list_objects,
    pending_objects,
    read_predictions,
    write_object,
)
from dcube.inference.prediction_row import BLANK_SLICE
from dcube.registry.download import DownloadedVersion, download_version
from dcube.runtime.s3 import Storage
from dcube.tracking.mlflow_client import mlflow_errors_in_one_line
from flows.model_process import TASK, completed, run_module, temporary_folder
from flows.prefect_api import log_errors_in_one_line
from flows.reporting import slug


@flow(name="predict", description="A registered model predicts on every image below an S3 prefix; drift is reported.")
def predict(
    model: Annotated[str, Field(min_length=1)],
    source: Annotated[str, Field(pattern="^s3://")],
    results: Annotated[str, Field(pattern="^s3://")],
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 256,
    abstain_below: Annotated[float | None, Field(ge=0, le=1)] = None,
    decide: str | None = None,
) -> State[Any]:
    """Predict on all objects that are not yet in the file of a finished batch.

    Args:
        model: MODEL@ALIAS or MODEL/VERSION, dcube-phantom@champion for example. An alias is resolved once.
        source: Prefix with the images, s3://bucket/studies/today for example: plain images, DICOM, NIfTI. Other files
            and blank slices are skipped.
        results: Prefix for the predictions, s3://bucket/predictions for example. Parquet and drift.json are written
            below MODEL/VERSION-WEIGHTS/abstain-below-….
        batch_size: Objects in one Parquet file; at most this many predictions are lost if the process is killed.
        abstain_below: The lowest confidence with which the model decides. Empty: as in its evaluation.
        decide: Rule of the decision: 'most probable class', or e.g. 'malignant >= 0.3'; with ' at malignant = 0.05' for
            another prevalence. Empty: the model's operating point.
    """
    log_errors_in_one_line()
    with temporary_folder() as folder, mlflow_errors_in_one_line():
        version = download_version(model, folder)
        config = CandidateConfig.load(version.folder / CONFIG)
        policy = version.policy.overridden(decide, abstain_below, config.classes, config.prior)
        images, predictions = _storages(source, results, version, policy)
        job = BatchJob(
            model=str(version.folder), identity=version.identity, source=images.address(),
            results=predictions.address(), policy=policy, batch_size=batch_size, pending=[],
        )  # fmt: skip
        predict_pending(job, folder)
        rows = current_predictions(list_objects(images), read_predictions(predictions))
        shown = rows[~rows["problem"].isin([NO_IMAGE, BLANK_SLICE])]
        if shown.empty:
            return Completed(name="No images", message=f"There is no image below {images.address()}")
        return _report(shown, version, predictions)


@task(task_run_name="predict", tags=["gpu"], **TASK)
def predict_pending(job: BatchJob, folder: Path) -> None:
    """Predict in one process that loads the model once. If it is killed, a retry continues with the pending objects."""
    logger = get_run_logger()
    images, predictions = Storage.at(job.source, "source"), Storage.at(job.results, "results")
    stored = list_objects(images)
    pending = pending_objects(stored, read_predictions(predictions, IDENTITY))
    logger.info("%d of %d objects below %s are pending", len(pending), len(stored), images.address())
    if not pending:
        return
    job_file = folder / "job.json"
    job.model_copy(update={"pending": pending}).save(job_file)
    run_module("predict", ["dcube.inference.batch", str(job_file)], folder)


def _storages(source: str, results: str, version: DownloadedVersion, policy: DecisionPolicy) -> tuple[Storage, Storage]:
    images = Storage.at(source.rstrip("/"), "source")
    home = Storage.at(results.rstrip("/"), "results")
    # The weights are part of the name, because version numbers start at 1 again for a deleted and new model.
    name = f"{version.version}-{version.weights[:12]}"
    address = home.address(version.name, name, policy.folder_name)
    if home.bucket == images.bucket and f"{home.key()}/".startswith(f"{images.key()}/".lstrip("/")):
        raise DcubeError(f"results={results} is below source={source}: predictions would be taken for images")
    return images, Storage.at(address, "results")


def _report(rows: pd.DataFrame, version: DownloadedVersion, predictions: Storage) -> State[Any]:
    """Show counts and distances on the run's page, without names of files, which are only in the Parquet files."""
    spec = CandidateConfig.load(version.folder / CONFIG).input
    found = drift.image_drift(rows, DriftReference.load(version.folder / REFERENCE), spec)
    write_object(predictions, "drift.json", DriftReport(rows=found).model_dump_json(indent=2).encode())
    key = slug(version.title)
    create_table_artifact(
        count_decisions(rows), key=f"predictions-{key}", description=f"Complete predictions: {predictions.address()}"
    )
    refused = int((rows["problem"] != "").sum())
    message = f"{len(rows) - refused} images predicted, {refused} refused: {predictions.address()}"
    return completed(message, found, f"drift-{key}")


def count_decisions(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows with the count, the share and the median confidence of each decision."""
    decisions = rows["decision"].where(rows["problem"] == "", "refused")
    table = []
    for decision, own in rows.groupby(decisions):
        confidence = own["confidence"].median()
        table.append(
            {
                "decision": str(decision),
                "images": len(own),
                "share": f"{len(own) / len(rows):.1%}",
                "median confidence": "" if pd.isna(confidence) else f"{confidence:.3f}",
            }
        )
    return table
