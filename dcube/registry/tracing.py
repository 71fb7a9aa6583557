"""Trace of a registered version back to everything it was made from, with what is missing or was changed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dcube.errors import DcubeError
from dcube.registry import mlflow_traces, repository_traces
from dcube.registry.provenance import Provenance
from dcube.registry.version import Version
from dcube.registry.versions import RegisteredModel


def trace(
    registered_model: RegisteredModel, version: Version, repository: Path, describe_pipeline: Callable[[str], str] = str
) -> Provenance:
    """Collect all facts about the origin of a version.

    Args:
        repository: clone in which to look for commit and data.
        describe_pipeline: function that describes the pipeline run of this name; it raises a `DcubeError` that names
            what is missing.
    """
    found = Provenance(registered_model, version, repository)
    for group, look in (
        ("registered", mlflow_traces.registered),
        ("model", mlflow_traces.model),
        ("parents", mlflow_traces.parents),
        ("runs", partial(mlflow_traces.runs, describe_pipeline=describe_pipeline)),
        ("code", repository_traces.code),
        ("data", repository_traces.data),
        ("parameters", mlflow_traces.parameters),
        ("DVC outputs", mlflow_traces.outputs),
        ("machine", mlflow_traces.machine),
    ):
        try:
            found.facts[group] = dict(look(found))
        except DcubeError as error:
            if not found.obstacles:  # with obstacles, this error is only a consequence of a change that they report
                raise
            found.facts[group] = {}
            found.gaps.append(str(error))
    return found
