"""Construction of a study's runner from the options of a command."""

from collections.abc import Sequence
from pathlib import Path

from dcube.artifacts.layout import PARAMS
from dcube.config.loading import load_params, load_preset, parse_settings, preset_names, with_overrides
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.repository.commands import repository_around
from dcube.studies.runner import Runner
from dcube.studies.study import DataSettings, Settings, Study, load_study

FOLD = "data.fold"


def build_runner(
    name: str, data: str | None, settings: Sequence[str] = (), rows: Sequence[str] = (), repeats: int | None = None
) -> Runner:
    """Build the runner of a study, given by its name or file, on a data set.

    Args:
        data: name of the data set, for params.yaml or a preset. None: params.yaml.
        settings: `group.key=value`; they override the preset's settings and those of the study for all rows.
        rows: names of the rows to compute. Empty: all.
        repeats: number of repeats. None: the study's own.

    Raises:
        DcubeError: if `repeats` is given for cross-validation, where it would leave out folds, or if the study, data
            set, rows or settings are unknown or do not fit together.
    """
    overrides = parse_settings(settings)
    base = with_overrides(base_params(data), overrides, where="--set")
    study = load_study(name)
    if FOLD in study.vary:
        if repeats:
            raise DcubeError(
                f"--repeats {repeats}: the repeats of this study are its folds: --set data.folds={repeats}"
            )
        repeats = overrides.get("data.folds")
    study = with_shared_settings(with_rows(study, rows, repeats), base.data.name, overrides)
    return Runner(Path(name).stem, study, base, repository_around(Path.cwd()))


def base_params(data: str | None) -> Params:
    """Return the parameters of params.yaml if it is for this data set, otherwise those of the preset of this name."""
    if data is None or (PARAMS.exists() and load_params(PARAMS).data.name == data):
        return load_params(PARAMS)
    if data in preset_names():
        return load_preset(data)
    raise DcubeError(
        f"--data {data}: neither params.yaml nor a preset has this data.name: set data.name: {data} in params.yaml, "
        f"or choose from {', '.join(preset_names())}"
    )


def with_rows(study: Study, rows: Sequence[str], repeats: int | None) -> Study:
    """Return the study with only these rows, and another number of repeats if given."""
    names = [row.name for row in study.rows]
    if unknown := [name for name in rows if name not in names]:
        raise DcubeError(f"--row {unknown[0]}: the study has {', '.join(names)}")
    chosen = [row for row in study.rows if not rows or row.name in rows]
    reference = study.reference if study.reference in [row.name for row in chosen] else None
    return study.model_copy(update={"rows": chosen, "reference": reference, "repeats": repeats or study.repeats})


def with_shared_settings(study: Study, data: str, settings: Settings) -> Study:
    """Return the study with these settings for all rows.

    Raises:
        DcubeError: if the study itself varies one of the settings.
    """
    swept = {study.sweep.parameter} if study.sweep else set()
    own = [{*row.settings, *study.choices_of(row, data)} for row in study.rows]
    if varied := sorted({*study.vary, *swept}.union(*own) & settings.keys()):
        raise DcubeError(f"--set {varied[0]}: the study varies it itself; change it in a copy of the study's file")
    there = study.data.get(data, DataSettings())
    by_hand = ", ".join(f"{parameter} = {value}" for parameter, value in settings.items())
    said = f"By --set: {by_hand}." if by_hand else ""
    now = {"settings": there.settings | settings, "note": " ".join(filter(None, (there.note, said)))}
    return study.model_copy(update={"data": study.data | {data: there.model_copy(update=now)}})
