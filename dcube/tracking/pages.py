"""Addresses of MLflow's pages. `uri` is that of the server; without it, addresses are relative, for MLflow's own pages.

All addresses open *Model training*, because otherwise MLflow 3.17 shows an experiment as one about language models,
whatever tags it has, until the user switches.
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
    """Return the address of a run, or of one of its files."""
    path = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    return _page(uri, f"{path}/artifacts/{quote(artifact)}" if artifact else path)


def runs_page(uri: str, experiment_id: str, metric: str) -> str:
    """Return the address of an experiment's runs, sorted by a metric with the largest value first."""
    return _page(uri, f"experiments/{experiment_id}/runs", orderByKey=f"metrics.`{metric}`", orderByAsc="false")


def models_page(uri: str, experiment_id: str) -> str:
    """Return the address of the models that were logged in an experiment."""
    return _page(uri, f"experiments/{experiment_id}/models")


def registered_model_page(uri: str, name: str) -> str:
    return _page(uri, f"models/{quote(name, safe='')}")


def version_page(uri: str, name: str, version: str) -> str:
    return _page(uri, f"models/{quote(name, safe='')}/versions/{version}")


def compare_page(uri: str, name: str, runs: Mapping[str, str]) -> str:
    """Return the address of a comparison of versions of a registered model.

    Args:
        runs: version → id of its source run.
    """
    which = {"name": json.dumps(quote(name, safe="")), "runs": json.dumps(runs, separators=(",", ":"))}
    return _page(uri, "compare-model-versions", **which)


def _page(uri: str, path: str, **query: str) -> str:
    address = without_password(uri)
    if address:  # a worker in a container uses a name of the server that browsers cannot resolve
        address = f"{read_settings().public_tracking_uri or address}/"
    return f"{address}#/{path}?{urlencode(query | WORKFLOW, quote_via=quote)}"
