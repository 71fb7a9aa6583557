"""The commit of a result's code, and whether the code differed from it. This module must not import torch."""

from collections.abc import Mapping

from dcube.artifacts.layout import GRAPH
from dcube.tracking import tags


def code_revision(origin: Mapping[str, str]) -> str:
    """Return the git commit of a result's code, with `+uncommitted` if its code or graph differed from the commit.

    Args:
        origin: tags from `dcube.tracking.lineage.origin_tags`.
    """
    changed = origin.get(tags.UNCOMMITTED, "").split(", ")
    return origin.get(tags.COMMIT, "") + ("+uncommitted" if any(map(affects_results, changed)) else "")


def affects_results(name: str) -> bool:
    """Return whether a path in the repository is the graph or a code file of the package."""
    return name == str(GRAPH) or (name.startswith("dcube/") and is_code(name))


def is_code(name: str) -> bool:
    return name.endswith((".py", ".yaml"))
