"""Writes to a run of MLflow, in requests no larger than MLflow accepts."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dcube.tracking.mlflow_client import after_collision, mlflow_key
from dcube.tracking.tags import DATASET_CONTEXT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

MOST_METRICS, MOST_PARAMS = 1000, 100  # in one request
DIGITS = 6


def rounded(value: float) -> float:
    """Round a metric for MLflow, whose lists show every digit. The files of the stages have full precision."""
    return float(f"{value:.{DIGITS}g}")


def send_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    entities = [Param(mlflow_key(name), str(value)) for name, value in params.items()]
    for start in range(0, len(entities), MOST_PARAMS):
        client.log_batch(run_id, params=entities[start : start + MOST_PARAMS])


def send_metrics(client: "MlflowClient", run_id: str, metrics: "Sequence[Metric]") -> None:
    for start in range(0, len(metrics), MOST_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])


def send_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def send_datasets(client: "MlflowClient", run_id: str, entities: Mapping[str, Mapping[str, str]]) -> None:
    """Log the data sets of a run.

    Args:
        entities: context (what the run used it for) → data set, from `dataset_entity`.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [DatasetInput(Dataset(**entity), [InputTag(DATASET_CONTEXT, use)]) for use, entity in entities.items()]
    after_collision()(client.log_inputs, run_id, inputs)


def milliseconds() -> int:
    """Return the present time as MLflow needs it, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
