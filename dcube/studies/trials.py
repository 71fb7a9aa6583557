"""Trials of a study: a trial is one set of parameters, and the stage of dvc.yaml to compute with them."""

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
    """A line of the table: a row, and one value of the sweep if there is one."""

    row: Row
    value: Any = None

    def __hash__(self) -> int:
        return hash(self.title)  # a row contains dicts, which cannot be hashed

    @property
    def title(self) -> str:
        return self.row.name if self.value is None else f"{self.row.name}, {self.value}"


@dataclass(frozen=True)
class Trial:
    """One computation of a study.

    Attributes:
        repeat: number of the repeat, from 0.
        chosen: values for the row's `choose`: ones to choose from, or those that were chosen on validation.
    """

    variant: Variant
    repeat: int
    chosen: Settings
    params: Params
    target: str

    @property
    def key(self) -> str:
        """Hash of target and parameters, which is equal for equal trials of different studies."""
        return hashlib.sha256(f"{self.target}\n{self.params.to_yaml()}".encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        tried = "".join(f", {parameter} = {value}" for parameter, value in self.chosen.items())
        return f"{self.variant.title}{tried}, repeat {self.repeat + 1}"


def variants(study: Study) -> list[Variant]:
    values: Sequence[Any] = study.sweep.values if study.sweep else [None]
    return [Variant(row, value) for row in study.rows for value in values]


def make_trial(study: Study, base: Params, variant: Variant, repeat: int, chosen: Settings | None = None) -> Trial:
    """Return one trial on the data set of `base`.

    Raises:
        DcubeError: if the settings do not fit together.
    """
    chosen = chosen or {}
    settings = _settings(study, base.data.name, variant) | chosen | dict.fromkeys(study.vary, repeat)
    where = f"study, row {variant.title}"
    return Trial(variant, repeat, chosen, with_overrides(base, settings, where), study.target_of(variant.row))


def settings_to_choose_from(study: Study, data: str, row: Row) -> Iterator[Settings]:
    """Yield all combinations of values to choose from on validation, or one empty combination without a choice."""
    choices = study.choices_of(row, data)
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def experiment_name(study: str, data: str, trial: Trial) -> str:
    """Return a name for the trial's DVC experiment, with only ASCII letters, digits and dashes."""
    words = f"{study}-{data}-{trial.variant.title}-{json.dumps(trial.chosen) if trial.chosen else ''}-{trial.repeat}"
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in words.lower())
    return f"{'-'.join(filter(None, plain.split('-')))[:80]}-{trial.key[:6]}"


def _settings(study: Study, data: str, variant: Variant) -> Settings:
    """Merge the settings of study, data set, row and sweep; later ones take precedence."""
    own = study.data[data].settings if data in study.data else {}
    swept = {study.sweep.parameter: variant.value} if study.sweep else {}
    return study.settings | own | variant.row.settings | swept
