"""Addresses of MLflow's pages. `uri` is the server's; without it, addresses hold on MLflow's own pages.

All of them open *Model training*: otherwise MLflow 3.17 shows an experiment as one about language models, unless the
person has switched that, whatever tags it has.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from dcube.runtime.settings import read_settings
from dcube.tracking.mlflow_client import without_password

if TYPE_CHECKING:
    from mlflow.entities import Run

WORKFLOW = {"workflowType": "machine_learning"}


def run_page(uri: str, run: "Run", artifact: str = "") -> str:
    """Of a run, or of a file that it holds."""
    path = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    return _page(uri, f"{path}/artifacts/{quote(artifact)}" if artifact else path)


def runs_page(uri: str, experiment_id: str, metric: str) -> str:
    """The runs of an experiment, those with the largest value of the metric first."""
    return _page(uri, f"experiments/{experiment_id}/runs", orderByKey=f"metrics.`{metric}`", orderByAsc="false")


def models_page(uri: str, experiment_id: str) -> str:
    """The models that were logged in an experiment."""
    return _page(uri, f"experiments/{experiment_id}/models")


def registered_model_page(uri: str, name: str) -> str:
    return _page(uri, f"models/{quote(name, safe='')}")


def version_page(uri: str, name: str, version: str) -> str:
    return _page(uri, f"models/{quote(name, safe='')}/versions/{version}")


def compare_page(uri: str, name: str, runs: Mapping[str, str]) -> str:
    """Versions of a registered model side by side.

    Args:
        runs: version → source run.
    """
    which = {"name": json.dumps(quote(name, safe="")), "runs": json.dumps(runs, separators=(",", ":"))}
    return _page(uri, "compare-model-versions", **which)


def _page(uri: str, path: str, **query: str) -> str:
    address = without_password(uri)
    if address:  # a worker in a container reaches the server by a name that no browser knows
        address = f"{read_settings().public_tracking_uri or address}/"
    return f"{address}#/{path}?{urlencode(query | WORKFLOW, quote_via=quote)}"
