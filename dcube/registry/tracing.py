"""From a registered version back to everything that made it, and what of that is missing or was changed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dcube.errors import DcubeError
from dcube.registry import mlflow_traces, repository_traces
from dcube.registry.provenance import Provenance
from dcube.registry.version import Version
from dcube.registry.versions import Registry


def trace(
    registry: Registry, version: Version, repository: Path, describe_pipeline: Callable[[str], str] = str
) -> Provenance:
    """Follow every trace of a version.

    Args:
        repository: the clone in which commit and data are looked for.
        describe_pipeline: what is known of the run of this name that made the version; raises a `DcubeError` that says
            what is missing of it.
    """
    found = Provenance(registry, version, repository)
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
            if not found.obstacles:  # else it is told below what was changed, of which this is a consequence
                raise
            found.facts[group] = {}
            found.gaps.append(str(error))
    return found
