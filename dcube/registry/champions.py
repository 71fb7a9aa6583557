"""History of champions: every move of the alias is recorded as an event in the tags of the version that it moves to."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import ClassVar, Self

from dcube.artifacts.schemas.artifact import Artifact
from dcube.artifacts.schemas.moment import Moment
from dcube.registry.version import Version
from dcube.tracking import tags

FIRST, PROMOTED, ROLLED_BACK = "first", "promoted", "rolled back"


class Event(Artifact):
    """Record that a version became champion.

    Attributes:
        how: `first`, `promoted` or `rolled back`.
        when: time of the event in UTC.
        replaced: version that was champion before.
        number: position in the history as its writer knew it, because clocks of machines differ.
    """

    remedy: ClassVar[str] = "use the version of D-Cube that wrote it; if it was changed by hand, delete it"

    version: str
    how: str
    who: str
    why: str
    when: Moment
    replaced: str | None
    number: int = 0

    @classmethod
    def new(cls, version: str, how: str, who: str, why: str, replaced: str | None = None, number: int = 0) -> Self:
        """Create an event with the present time."""
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        return cls(version=version, how=how, who=who, why=why, when=when, replaced=replaced, number=number)

    @property
    def key(self) -> str:
        """Key of the event's tags on the version and on the registered model, which outlives the version.

        It contains the time, because a version may become champion twice.
        """
        return tags.CHAMPION + datetime.fromisoformat(self.when).strftime("%Y%m%dT%H%M%S.%fZ")

    @property
    def text(self) -> str:
        """Value of the tags. The detailed record of the comparison (`PromotionRecord`) is in the source run."""
        return self.model_dump_json()


def events_of(versions: Iterable[Version], of_model: Mapping[str, str]) -> list[Event]:
    """Return all events, the oldest first.

    Args:
        of_model: tags of the registered model, which also contain the events of deleted versions.
    """
    there = [
        Event.parse(value, f"the tag {key} of {version.name} version {version.version}")
        for version in versions
        for key, value in version.entry.tags.items()
        if key.startswith(tags.CHAMPION)
    ]
    kept = [
        Event.parse(value, f"the tag {key} of the registered model")
        for key, value in of_model.items()
        if key.startswith(tags.CHAMPION)
    ]
    found = {event.key: event for event in (*kept, *there)}.values()
    return sorted(found, key=lambda event: (event.number, event.when))


def forged_event(versions: Iterable[Version], of_model: Mapping[str, str]) -> str:
    """Return a message if an event differs between version and registered model or is missing on one, else empty text.

    Events of deleted versions are only on the model, and are not checked.
    """
    there = list(versions)
    on_versions = {event.key: event for event in events_of(there, {})}
    on_model = {event.key: event for event in events_of((), of_model)}
    names = {version.version for version in there}
    for key in sorted(on_versions.keys() | on_model.keys()):
        own, kept = on_versions.get(key), on_model.get(key)
        if own != kept and (own or (kept and kept.version in names)):
            return f"the tag {key}, an appointment of a champion, differs between its version and the registered model"
    return ""


def champion_before(events: Iterable[Event], current: str | None) -> str | None:
    """Return the version that a rollback returns to. Two rollbacks in a row go back two champions.

    The last event is ignored if the alias never moved, because the process that wrote it was killed.
    """
    line: list[str] = []
    known = list(events)
    if current and known and known[-1].version != current and known[-1].replaced == current:
        known.pop()
    for event in known:
        if event.how == ROLLED_BACK and event.version in line:
            while line[-1] != event.version:
                line.pop()
        else:
            line.append(event.version)
    if line and line[-1] == current:
        line.pop()
    return line[-1] if line else None
