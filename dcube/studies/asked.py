"""From the words of a command to what computes a study."""

from collections.abc import Sequence
from pathlib import Path

from dcube.config import Params
from dcube.errors import DcubeError
from dcube.params_file import load_params, load_preset, params_with, preset_names
from dcube.stages.paths import PARAMS
from dcube.studies.running import Runner
from dcube.studies.study import Study, load_study
from dcube.workspace import repository_around


def asked(
    name: str, data: str | None, settings: Sequence[str] = (), rows: Sequence[str] = (), repeats: int | None = None
) -> Runner:
    """The study of that name or file over a data set.

    Args:
        data: data set and preset; None is what params.yaml says.
        settings: `group.key=value` laid over these.
        rows: the only ones to compute; empty: all.
        repeats: other number than the study's.
    """
    study = narrowed(load_study(name), rows, repeats)
    base = params_with(base_params(data), settings)
    return Runner(Path(name).stem, study, base, repository_around(Path.cwd()))


def base_params(data: str | None) -> Params:
    """params.yaml where it is about this data set, else the preset of this name."""
    if data is None or (PARAMS.exists() and load_params(PARAMS).data.name == data):
        return load_params(PARAMS)
    if data in preset_names():
        return load_preset(data)
    raise DcubeError(
        f"--data {data}: neither params.yaml nor a preset is about it: set data.name: {data} in params.yaml, "
        f"or choose from {', '.join(preset_names())}"
    )


def narrowed(study: Study, rows: Sequence[str], repeats: int | None) -> Study:
    """The study with some of its rows, and another number of repeats."""
    names = [row.name for row in study.rows]
    if unknown := [name for name in rows if name not in names]:
        raise DcubeError(f"--row {unknown[0]}: the study has {', '.join(names)}")
    chosen = [row for row in study.rows if not rows or row.name in rows]
    reference = study.reference if study.reference in [row.name for row in chosen] else None
    return study.model_copy(update={"rows": chosen, "reference": reference, "repeats": repeats or study.repeats})
