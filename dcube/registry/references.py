"""References to a version: `MODEL@ALIAS` or `MODEL/VERSION`, with or without MLflow's prefix `models:/`."""

import re
import sys

from dcube.errors import DcubeError
from dcube.registry.eligibility import refuse_control
from dcube.registry.version import Version
from dcube.registry.versions import CHAMPION, RegisteredModel

SCHEME = "models:/"


def model_of(data: str) -> str:
    """Return the name of the registered model for a data set (`data.name` in params.yaml)."""
    return f"dcube-{data}"


def parse_reference(reference: str) -> tuple[str, str, bool]:
    """Split `MODEL@ALIAS` or `MODEL/VERSION` into model, alias or version, and whether the latter is an alias."""
    match = re.fullmatch(r"([^@/]+)(?:@([^@/]+)|/(\d+))", reference.removeprefix(SCHEME))
    if not match:
        raise DcubeError(
            f"{reference!r} names no version: write MODEL@ALIAS or MODEL/VERSION, e.g. dcube-scans@champion"
        )
    model, alias, version = match.groups()
    return model, alias or version, alias is not None


def resolve_reference(reference: str) -> tuple[RegisteredModel, Version]:
    """Return the registry and the version for `MODEL@ALIAS` or `MODEL/VERSION`; raise `DcubeError` if it is missing."""
    model, which, is_alias = parse_reference(reference)
    registered_model = RegisteredModel.existing(model)
    if not is_alias:
        return registered_model, registered_model.version(which)
    version = registered_model.holder(which)
    if version is None:
        known = ", ".join(sorted(registered_model.aliases())) or "none"
        raise DcubeError(f"{model} has no alias {which!r}: it has {known}")
    return registered_model, version


def refuse_unfit_champion(reference: str, registered_model: RegisteredModel, version: Version) -> None:
    """Check the version of `MODEL@champion`, and warn on stderr if the alias contradicts the history of champions.

    Raises:
        DcubeError: if the alias was moved to a control.
    """
    if parse_reference(reference)[1:] != (CHAMPION, True):
        return
    refuse_control(version)
    try:
        moved = registered_model.champion_moved_by_hand()
    except DcubeError as error:  # a damaged event does not affect the version, so it is only a warning
        moved = str(error)
    if moved:
        print(f"{moved[0].upper()}{moved[1:]}.", file=sys.stderr)
