"""What a study computes: a trial is one set of parameters and the stage of dvc.yaml that it is computed up to."""

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
class Variant:
    """A line of the table: a row, at one value of the sweep if there is one."""

    row: Row
    value: Any = None

    def __hash__(self) -> int:
        return hash(self.title)  # a row holds dicts

    @property
    def title(self) -> str:
        return self.row.name if self.value is None else f"{self.row.name}, {self.value}"


@dataclass(frozen=True)
class Trial:
    """Attributes:
    repeat: 0 … n - 1.
    chosen: what of the row's `choose` this trial tries, or has been given.
    """

    variant: Variant
    repeat: int
    chosen: Settings
    params: Params
    target: str

    @property
    def key(self) -> str:
        """Equal for trials that compute the same, of whatever study."""
        return hashlib.sha256(f"{self.target}\n{self.params.to_yaml()}".encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        tried = "".join(f", {parameter} = {value}" for parameter, value in self.chosen.items())
        return f"{self.variant.title}{tried}, repeat {self.repeat + 1}"


def variants(study: Study) -> list[Variant]:
    values: Sequence[Any] = study.sweep.values if study.sweep else [None]
    return [Variant(row, value) for row in study.rows for value in values]


def make_trial(study: Study, base: Params, variant: Variant, repeat: int, chosen: Settings | None = None) -> Trial:
    """One trial of a table over the data set that `base` is about.

    Raises:
        DcubeError: the settings do not fit together.
    """
    chosen = chosen or {}
    settings = _settings(study, base.data.name, variant) | chosen | dict.fromkeys(study.vary, repeat)
    where = f"study, row {variant.title}"
    return Trial(variant, repeat, chosen, with_overrides(base, settings, where), study.target_of(variant.row))


def candidates(study: Study, data: str, row: Row) -> Iterator[Settings]:
    """Every combination of what validation is to choose from; one empty one where there is no choice."""
    choices = study.choices_of(row, data)
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def experiment_name(study: str, data: str, trial: Trial) -> str:
    """A DVC experiment's name: letters, digits, dashes."""
    words = f"{study}-{data}-{trial.variant.title}-{json.dumps(trial.chosen) if trial.chosen else ''}-{trial.repeat}"
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in words.lower())
    return f"{'-'.join(filter(None, plain.split('-')))[:80]}-{trial.key[:6]}"


def _settings(study: Study, data: str, variant: Variant) -> Settings:
    """Later ones win: study, data set, row, axis."""
    own = study.data[data].settings if data in study.data else {}
    swept = {study.sweep.parameter: variant.value} if study.sweep else {}
    return study.settings | own | variant.row.settings | swept
