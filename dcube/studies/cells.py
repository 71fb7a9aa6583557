"""What a study computes: a cell is one set of parameters and the stage of dvc.yaml that it is computed up to."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dcube.config.loading import with_overrides
from dcube.config.schema import Params
from dcube.studies.study import Row, Settings, Study


@dataclass(frozen=True)
class Place:
    """A line of the table: a row, at one value of the axis if there is one."""

    row: Row
    value: Any = None

    def __hash__(self) -> int:
        return hash(self.title)  # a row holds dicts

    @property
    def title(self) -> str:
        return self.row.name if self.value is None else f"{self.row.name}, {self.value}"


@dataclass(frozen=True)
class Cell:
    """Attributes:
    repeat: 0 … n - 1.
    chosen: what of the row's `choose` this cell tries, or has been given.
    """

    place: Place
    repeat: int
    chosen: Settings
    params: Params
    target: str

    @property
    def key(self) -> str:
        """Equal for cells that compute the same, of whatever study."""
        return hashlib.sha256(f"{self.target}\n{self.params.to_yaml()}".encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        tried = "".join(f", {parameter} = {value}" for parameter, value in self.chosen.items())
        return f"{self.place.title}{tried}, repeat {self.repeat + 1}"


def places(study: Study) -> list[Place]:
    values: Sequence[Any] = study.along.values if study.along else [None]
    return [Place(row, value) for row in study.rows for value in values]


def cell(study: Study, base: Params, place: Place, repeat: int, chosen: Settings | None = None) -> Cell:
    """One cell of a table over the data set that `base` is about.

    Raises:
        DcubeError: the settings do not fit together.
    """
    chosen = chosen or {}
    settings = _settings(study, base.data.name, place) | chosen | dict.fromkeys(study.vary, repeat)
    where = f"study, row {place.title}"
    return Cell(place, repeat, chosen, with_overrides(base, settings, where), study.target_of(place.row))


def candidates(study: Study, data: str, row: Row) -> Iterator[Settings]:
    """Every combination of what validation is to choose from; one empty one where there is no choice."""
    choices = study.choices_of(row, data)
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def experiment_name(study: str, data: str, made: Cell) -> str:
    """A DVC experiment's name: letters, digits, dashes."""
    words = f"{study}-{data}-{made.place.title}-{json.dumps(made.chosen) if made.chosen else ''}-{made.repeat}"
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in words.lower())
    return f"{'-'.join(filter(None, plain.split('-')))[:80]}-{made.key[:6]}"


def _settings(study: Study, data: str, place: Place) -> Settings:
    """Later ones win: study, data set, row, axis."""
    own = study.data[data].settings if data in study.data else {}
    axis = {study.along.parameter: place.value} if study.along else {}
    return study.settings | own | place.row.settings | axis
