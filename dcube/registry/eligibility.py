"""Checks that a version may become champion and that two versions can be compared."""

from collections.abc import Sequence

from dcube.artifacts.candidates import CONTROLS
from dcube.errors import DcubeError
from dcube.registry.champions import Event
from dcube.registry.version import Version
from dcube.tracking import tags


def refuse_control(version: Version) -> None:
    """Raise `DcubeError` if the version is a control."""
    if (kind := version.needed(tags.KIND)) in CONTROLS:
        raise DcubeError(
            f"{version.name}/{version.version} is a control ({kind}), which says what D-Cube's parts are worth and is "
            "not meant for use: name another version"
        )


def refuse_missing_champion(name: str, events: Sequence[Event]) -> None:
    """Raise `DcubeError` if the history has a champion. Call it when the registry has none."""
    if events:
        raise DcubeError(
            f"the champion of {name}, version {events[-1].version}, was deleted, or lost its alias: appoint one with "
            f"`dcube rollback {name} --reason …`, which goes back to the champion before it, or names a version with "
            "--to"
        )


def tested_elsewhere(one: Version, other: Version) -> bool:
    """Return whether the two versions were tested on different images."""
    return one.needed(tags.TEST) != other.needed(tags.TEST)


def refuse_other_test(champion: Version, challenger: Version) -> None:
    """Raise `DcubeError` if the two versions were tested on different images, unless one is an ensemble of folds.

    The members of such an ensemble predict every image of the data set, each those that it never saw.
    """
    by_folds = any(tags.ENSEMBLE in version.tags for version in (champion, challenger))
    if by_folds or not tested_elsewhere(champion, challenger):
        return
    tests = [version.needed(tags.TEST)[:12] for version in (champion, challenger)]
    raise DcubeError(
        f"champion (version {champion.version}) and challenger (version {challenger.version}) were tested on "
        f"different images ({tests[0]} and {tests[1]}): train the champion's parameters on the challenger's data and "
        f"compare with that, or appoint with `dcube rollback {champion.name} --to {challenger.version} --reason …`"
    )
