"""Check that results were made with the parameters in params.yaml, by the parameters stored in the results themselves.

DVC records the values in params.yaml after a stage's process has ended. If the file is edited after the stage has read
it and before DVC records it, DVC records wrong values, and only the result itself has the right ones.
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
    """Yield a message for each existing output that was made with parameters other than `params`."""
    for stage, file, made_with, wanted in _recorded(params):
        if different := [name for name, value in wanted.items() if made_with.get(name) != value]:
            name = different[0]
            yield (
                f"{file} was made with other values of {abbreviated(different)} than params.yaml has ({name}: "
                f"{made_with.get(name)}, now {wanted[name]}): run `dvc repro --force --single-item {stage}`, then "
                "`dvc repro`"
            )


def _recorded(params: Params) -> Iterator[tuple[str, Path, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield stage, file, the parameters recorded in the file, and the parameters that it should record."""
    if (file := DIFFUSION / CONFIG).exists():
        trained = DiffusionConfig.load(file).diffusion
        yield "train_diffusion", file, _flat(diffusion=trained), _flat(diffusion=params.diffusion)
    for name, stage in STAGES.items():
        if (file := MODELS / name / CONFIG).exists():
            yield stage, file, *_of_candidate(CandidateConfig.load(file).params, name, params)
        if (file := EVALUATION / name / METRICS_FILE).exists():
            recorded = Metrics.load(file).evaluation
            yield f"evaluate@{name}", file, _flat(evaluation=recorded), _flat(evaluation=params.evaluation)


def _of_candidate(
    recorded: TrainedWith, name: CandidateName, params: Params
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    diffusion = {"diffusion": params.diffusion} if recorded.diffusion else {}
    return _flat(**dict(recorded)), flattened(recipe_of(name, params).params | diffusion)


def _flat(**groups: Any) -> dict[str, Any]:
    return flattened({name: group for name, group in groups.items() if group is not None})
