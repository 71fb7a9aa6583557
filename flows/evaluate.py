"""Flow that evaluates a registered model on the labelled images below an S3 prefix, as `dcube evaluate` does."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.logging import get_run_logger
from prefect.states import State
from pydantic import Field

from dcube.artifacts.layout import METRICS_FILE
from dcube.artifacts.schemas.drift import DriftReport
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema.data import GROUP_BY, NAME
from dcube.errors import DcubeError
from dcube.evaluation.external_notes import external_notes
from dcube.evaluation.metrics import HEADLINES, metric_of
from dcube.evaluation.operating_point import LABELS, decision_in_words
from dcube.evaluation.summary import tested_on
from dcube.inference.bucket import download_objects, list_objects
from dcube.registry.download import DownloadedVersion, download_version
from dcube.registry.external_tags import run_id_of
from dcube.registry.references import resolve_reference
from dcube.runtime.s3 import Storage
from dcube.runtime.settings import variable_of
from dcube.tracking.mlflow_client import mlflow_errors_in_one_line, tracking_uri
from dcube.tracking.pages import run_page, version_page
from flows.model_process import TASK, completed, run_module, temporary_folder
from flows.prefect_api import log_errors_in_one_line
from flows.reporting import show_page, slug
from flows.results_page import with_interval


@flow(name="evaluate", description="A registered model is tested on labelled images of another source.")
def evaluate(
    model: Annotated[str, Field(min_length=1)],
    source: Annotated[str, Field(pattern="^s3://")],
    name: Annotated[str, Field(pattern=f"^{NAME}$")],
    group_by: Annotated[str | None, Field(max_length=200, pattern=GROUP_BY)] = None,
) -> State[Any]:
    """Run `dcube evaluate`, which records the test in MLflow as a run and as a tag of the version.

    Args:
        model: MODEL@ALIAS or MODEL/VERSION, dcube-phantom@champion for example. An alias is resolved once.
        source: Prefix with the labelled images, s3://bucket/other-hospital for example, in any layout that `dcube data
            check` reads. They are copied to the worker, and removed at the end.
        name: Name of the test set in MLflow. Lower-case letters, digits, - and _, a letter first; no person's name.
        group_by: Which images belong together where patients are unknown, as data.group_by. Empty: each on its own.
    """
    log_errors_in_one_line()
    with temporary_folder() as folder, mlflow_errors_in_one_line():
        version = download_version(model, folder / "version")
        download_images(Storage.at(source.rstrip("/"), "source"), folder / "images" / name)
        results = evaluate_version(version.title, folder, name, group_by)
        return _report(version, results)


@task(task_run_name="download", **TASK)
def download_images(images: Storage, folder: Path) -> None:
    """Copy all objects below the prefix to the folder."""
    objects = list_objects(images)
    if not objects:
        raise DcubeError(f"there is no object below source={images.address()}: correct it, or copy the images there")
    get_run_logger().info("%d objects below %s are copied", len(objects), images.address())
    download_objects(images, objects, folder)


@task(task_run_name="evaluate", tags=["gpu"], **TASK)
def evaluate_version(version: str, folder: Path, name: str, group_by: str | None) -> Path:
    """Run the command on the images in the folder, and return the folder of its results."""
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)  # of an attempt that was killed
    words = ["dcube.cli", "evaluate", version, str(folder / "images" / name), f"--name={name}", f"--output={results}"]
    words += [f"--group-by={group_by}"] if group_by else []
    run_module("evaluate", words, folder, {variable_of("tracking_uri"): tracking_uri()})
    return results


def _report(version: DownloadedVersion, results: Path) -> State[Any]:
    own, external = version.metrics, Metrics.load(results / METRICS_FILE)
    key = slug(f"{version.title}-{external.dataset}")
    notes = [decision_in_words(own.operating_point, own.confidence), *external_notes(own, external)]
    title = f"{version.title} on {external.dataset}, {own.confidence:.0%} intervals"
    create_table_artifact(
        list(_rows(own, external)), key=f"external-test-{key}", description=" ".join([f"{title}.", *notes])
    )
    _show_pages(version, external.dataset)
    auroc = metric_of("auroc")
    message = f"{auroc.title} {with_interval(external, auroc.name)} on {tested_on(external)} of {external.dataset}"
    return completed(message, DriftReport.load(results / "drift.json").rows, f"drift-{key}")


def _rows(own: Metrics, external: Metrics) -> Iterator[dict[str, str]]:
    """Yield a row for each metric, and for each rate at the operating point."""
    tests = {f"{own.dataset}, own test split": own, external.dataset: external}
    yield {"metric": "tested on", **{test: tested_on(its) for test, its in tests.items()}}
    for metric in HEADLINES:
        yield {"metric": metric.title, **{test: with_interval(its, metric.name) for test, its in tests.items()}}
    for rate in external.operating_point.test:
        at_point = {test: str(its.operating_point.test[rate]) for test, its in tests.items()}
        yield {"metric": f"{LABELS[rate]} at the operating point", **at_point}


def _show_pages(version: DownloadedVersion, name: str) -> None:
    """Link the run and the version in MLflow, if a server has them."""
    address = tracking_uri()
    if not address.startswith("http"):
        return
    registered_model, found = resolve_reference(version.title)
    show_page(run_page(address, registered_model.client.get_run(run_id_of(found, name))))
    create_link_artifact(
        version_page(address, version.name, version.version), version.title, key="version",
        description="The version in MLflow, with a tag for this test",
    )  # fmt: skip
