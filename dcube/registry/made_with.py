"""Whether results were made with the parameters that params.yaml names, as far as their own files say with which.

DVC records the values that it finds in params.yaml after a stage's process has ended. What was edited between the last
look of the stage and that moment is recorded beside a result of other values, and nothing but the result can tell.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dcube.artifacts.candidates import STAGES, CandidateName
from dcube.artifacts.layout import CONFIG, DIFFUSION, EVALUATION, METRICS_FILE, MODELS
from dcube.artifacts.schemas.candidate import CandidateConfig, TrainedWith
from dcube.artifacts.schemas.diffusion import DiffusionConfig
from dcube.artifacts.schemas.metrics import Metrics
from dcube.classifier.recipe import recipe_of
from dcube.config.loading import flattened
from dcube.config.schema import Params
from dcube.errors import abbreviated


def other_parameters(params: Params) -> Iterator[str]:
    """A sentence for each output that stands here and was made with other parameters than these."""
    for stage, file, made_with, wanted in _recorded(params):
        if different := [name for name, value in wanted.items() if made_with.get(name) != value]:
            name = different[0]
            yield (
                f"{file} was made with other {abbreviated(different)} than stand in params.yaml ({name}: "
                f"{made_with.get(name)}, not {wanted[name]}): these, or their defaults, were changed as the stage "
                f"ended, or since; `dvc repro --force --single-item {stage}`, then `dvc repro`"
            )


def _recorded(params: Params) -> Iterator[tuple[str, Path, Mapping[str, Any], Mapping[str, Any]]]:
    """Stage, its file, the parameters that this names, and those that it should name."""
    if (file := DIFFUSION / CONFIG).exists():
        recorded = DiffusionConfig.load(file).diffusion
        yield "train_diffusion", file, _flat(diffusion=recorded), _flat(diffusion=params.diffusion)
    for name, stage in STAGES.items():
        if (file := MODELS / name / CONFIG).exists():
            yield stage, file, *_of_candidate(CandidateConfig.load(file).params, name, params)
        if (file := EVALUATION / name / METRICS_FILE).exists() and (evaluation := Metrics.load(file).evaluation):
            yield f"evaluate@{name}", file, _flat(evaluation=evaluation), _flat(evaluation=params.evaluation)


def _of_candidate(
    recorded: TrainedWith, name: CandidateName, params: Params
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    diffusion = {"diffusion": params.diffusion} if recorded.diffusion else {}
    return _flat(**dict(recorded)), flattened(recipe_of(name, params).params | diffusion)


def _flat(**groups: Any) -> dict[str, Any]:
    return flattened({name: group for name, group in groups.items() if group is not None})
