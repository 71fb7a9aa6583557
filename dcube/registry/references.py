"""`MODEL@ALIAS` and `MODEL/VERSION`, as people name a version. MLflow's `models:/` may stand before them."""

import re
import sys

from dcube.errors import DcubeError
from dcube.registry.eligibility import refuse_control
from dcube.registry.version import Version
from dcube.registry.versions import CHAMPION, Registry

SCHEME = "models:/"


def model_of(data: str) -> str:
    """The registered model of a data set, which `data.name` in params.yaml names."""
    return f"dcube-{data}"


def parse_reference(reference: str) -> tuple[str, str, bool]:
    """`MODEL@ALIAS` or `MODEL/VERSION` as (model, alias or version, whether it is an alias)."""
    match = re.fullmatch(r"([^@/]+)(?:@([^@/]+)|/(\d+))", reference.removeprefix(SCHEME))
    if not match:
        raise DcubeError(
            f"{reference!r} names no version: write MODEL@ALIAS or MODEL/VERSION, e.g. dcube-scans@champion"
        )
    model, alias, version = match.groups()
    return model, alias or version, alias is not None


def resolve_reference(reference: str) -> tuple[Registry, Version]:
    """The version that `MODEL@ALIAS` or `MODEL/VERSION` names."""
    model, which, is_alias = parse_reference(reference)
    registry = Registry.existing(model)
    if not is_alias:
        return registry, registry.version(which)
    version = registry.holder(which)
    if version is None:
        known = ", ".join(sorted(registry.aliases())) or "none"
        raise DcubeError(f"{model} has no alias {which!r}: it has {known}")
    return registry, version


def refuse_unfit_champion(reference: str, registry: Registry, version: Version) -> None:
    """Of `MODEL@champion`; says on stderr where the alias is not where the history says.

    Raises:
        DcubeError: the alias was moved to a control.
    """
    if parse_reference(reference)[1:] != (CHAMPION, True):
        return
    refuse_control(version)
    try:
        moved = registry.champion_moved_by_hand()
    except DcubeError as error:  # a damaged event says nothing about the version
        moved = str(error)
    if moved:
        print(f"{moved[0].upper()}{moved[1:]}.", file=sys.stderr)
