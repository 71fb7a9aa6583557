"""The source run of a version in MLflow: parameters, metrics, data sets and pictures of one candidate."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.loading import flattened
from dcube.config.schema import Params
from dcube.tracking import tags
from dcube.tracking.batches import milliseconds, rounded, send_metrics
from dcube.tracking.mlflow_client import mlflow_key

USES = {"training": "train", "test": "test"}  # context that MLflow shows beside a data set → split


@contextmanager
def candidate_run(client: MlflowClient, beside: Run, name: str, origin: Mapping[str, str]) -> Iterator[str]:
    """Create a run in the same pipeline as the run `beside`, and yield its id. The run ends with the block."""
    parent = beside.data.tags.get(tags.PARENT, beside.info.run_id)
    run = client.create_run(
        beside.info.experiment_id, tags={**origin, tags.PARENT: parent}, run_name=name, start_time=milliseconds()
    )
    with ending(client, run.info.run_id):
        yield run.info.run_id


@contextmanager
def ending(client: MlflowClient, run_id: str) -> Iterator[None]:
    """End the run with the block, with status FAILED if the block raises."""
    try:
        yield
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)


def log_metrics(
    client: MlflowClient,
    run_id: str,
    values: Mapping[str, float],
    model_id: str | None = None,
    dataset: Mapping[str, str] | None = None,
    step: int = 0,
) -> None:
    """Log metrics to a run and, if given, to its model, without NaN values, which MLflow would sort as 0.

    Args:
        dataset: data set of the metrics, from `dataset_entity`.
    """
    moment = milliseconds()
    measured_on = {"dataset_name": dataset["name"], "dataset_digest": dataset["digest"]} if dataset else {}
    metrics = [
        Metric(mlflow_key(name), rounded(value), moment, step, model_id=model_id, run_id=run_id, **measured_on)
        for name, value in values.items()
        if not math.isnan(value)
    ]
    send_metrics(client, run_id, metrics)


def log_evaluation(
    client: MlflowClient, run_id: str, metrics: Metrics, tested_on: Mapping[str, str], model_id: str | None = None
) -> None:
    """Log the metrics of both splits as `test.NAME` and `validation.NAME`.

    Args:
        tested_on: test data set, from `dataset_entity`.
    """
    test = {f"{tags.TEST_METRIC}{name}": value for name, value in metrics.test.items()}
    log_metrics(client, run_id, test, model_id, tested_on)
    validation = {f"{tags.VALIDATION_METRIC}{name}": value for name, value in metrics.validation.items()}
    log_metrics(client, run_id, validation, model_id)


def undefined_in(metrics: Metrics) -> Sequence[str]:
    return [name for name, value in metrics.test.items() if math.isnan(value)]


def params_of(config: CandidateConfig, params: Params) -> dict[str, Any]:
    """Return all parameters of a candidate, flattened: its own groups, and those of the stages before it.

    Args:
        params: parameters of the pipeline. The candidate's own parameters take precedence.
    """
    own = config.params.model_dump(mode="json", exclude_none=True)
    trained_with = config.params.classifier or config.params.baseline
    synthetic = trained_with is not None and trained_with.extra_images == "synthetic"
    blocks = [one.blocks for one in config.networks if one.blocks is not None]
    shown = {"blocks": blocks if config.members else blocks[0]} if blocks else {}
    behind = groups_behind(params, on_features=bool(blocks), on_synthetic=synthetic)
    if config.members:
        del behind["data"]["fold"]  # each member has another
    return shown_params(config.kind, {**shown, **behind, **own})


def shown_params(kind: str, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kind and the parameter groups of a candidate, flattened as MLflow shows them."""
    return flattened({"kind": kind, **groups})


def groups_behind(params: Params, on_features: bool, on_synthetic: bool) -> dict[str, Any]:
    """Return the parameters of the stages before a candidate: data, and diffusion or synthesis if it uses them."""
    groups = {"data", "labels"}
    if on_features:
        groups |= {"features"}
    if on_synthetic:
        groups |= {"diffusion", "synthesis"}
    return params.model_dump(mode="json", include=groups)
