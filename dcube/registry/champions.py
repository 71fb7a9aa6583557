"""Who became champion: every move of the alias leaves an event among the tags of the version that it moved to."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter

from dcube.errors import DcubeError
from dcube.registry.version import Version
from dcube.tracking import tags

FIRST, PROMOTED, ROLLED_BACK = "first", "promoted", "rolled back"


@dataclass(frozen=True)
class Event:
    """A version became champion.

    Attributes:
        how: `first`, `promoted` or `rolled back`.
        when: UTC, ISO 8601.
        replaced: the version that was champion before.
        number: its place in the history, by the events that its writer knew of: clocks of machines differ.
        record: policy and criteria of the comparison, where there was one.
    """

    version: str
    how: str
    who: str
    why: str
    when: str
    replaced: str | None
    number: int = 0
    record: dict | None = None

    @property
    def key(self) -> str:
        """Of its tag: the moment, since a version may become champion twice."""
        return tags.CHAMPION + datetime.fromisoformat(self.when).strftime("%Y%m%dT%H%M%S.%fZ")

    @property
    def text(self) -> str:
        """What the tag says, for a version's page; the long record of the comparison stands elsewhere."""
        values = {name: value for name, value in asdict(self).items() if name not in ("version", "record")}
        return json.dumps(values, ensure_ascii=False)

    @property
    def key_of_model(self) -> str:
        """Of the registered model's tag, which outlives the version. MLflow's pages hide what starts so."""
        return tags.MLFLOW + self.key

    @property
    def text_with_version(self) -> str:
        """What that tag says."""
        return json.dumps({"version": self.version, **json.loads(self.text)}, ensure_ascii=False)


def event_time() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def events_of(versions: Iterable[Version], of_model: Mapping[str, str]) -> list[Event]:
    """The oldest first.

    Args:
        of_model: tags of the registered model, which know the events of deleted versions too.
    """
    there = [
        _event(f"{version.name} version {version.version}", key, value, version=version.version)
        for version in versions
        for key, value in version.entry.tags.items()
        if key.startswith(tags.CHAMPION)
    ]
    kept = [
        _event("the registered model", key, value)
        for key, value in of_model.items()
        if key.startswith(tags.MLFLOW + tags.CHAMPION)
    ]
    found = {event.key: event for event in (*kept, *there)}.values()
    return sorted(found, key=lambda event: (event.number, event.when))


def _event(where: str, key: str, value: str, version: str | None = None) -> Event:
    """The event in a tag, of this version unless it names its own."""
    try:
        event = TypeAdapter(Event).validate_python(({"version": version} if version else {}) | json.loads(value))
        datetime.fromisoformat(event.when)
        return event
    except (ValueError, TypeError, RecursionError):
        raise DcubeError(
            f"the tag {key} of {where} is no event of a champion: it was changed by hand; delete it"
        ) from None


def champion_before(events: Iterable[Event], current: str | None) -> str | None:
    """The version that a rollback returns to: two rollbacks in a row go back two champions."""
    line: list[str] = []
    for event in events:
        if event.how == ROLLED_BACK and event.version in line:
            while line[-1] != event.version:
                line.pop()
        else:
            line.append(event.version)
    if line and line[-1] == current:
        line.pop()
    return line[-1] if line else None
