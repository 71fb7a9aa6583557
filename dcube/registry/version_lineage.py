"""Lineage of a registered version: everything it was made from, with what is missing or was changed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dcube.errors import DcubeError
from dcube.registry import lineage_from_mlflow, lineage_from_repository
from dcube.registry.provenance import Provenance
from dcube.registry.version import Version
from dcube.registry.versions import RegisteredModel


def lineage_of(
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
        ("registered", lineage_from_mlflow.registered),
        ("model", lineage_from_mlflow.model),
        ("parents", lineage_from_mlflow.parents),
        ("runs", partial(lineage_from_mlflow.runs, describe_pipeline=describe_pipeline)),
        ("code", lineage_from_repository.code),
        ("data", lineage_from_repository.data),
        ("parameters", lineage_from_mlflow.parameters),
        ("DVC outputs", lineage_from_mlflow.outputs),
        ("machine", lineage_from_mlflow.machine),
    ):
        try:
            found.facts[group] = dict(look(found))
        except DcubeError as error:
            if not found.obstacles:  # with obstacles, this error is only a consequence of a change that they report
                raise
            found.facts[group] = {}
            found.gaps.append(str(error))
    return found
