"""Seconds of every stage, from the speeds of one step and the numbers of steps."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dcube.artifacts.candidates import BASELINE, DCUBE, IMAGENET_PROBE, STAGES, SUB_FEATURES, UNTRAINED, CandidateName
from dcube.classifier.recipe import (
    Recipe,
    head_recipe,
    imagenet_probe_recipe,
    method_recipe,
    sub_features_recipe,
)
from dcube.classifier.training import STATISTICS_IMAGES
from dcube.config.schema import Optimisation, Params
from dcube.engine.batch_sampler import steps_per_epoch
from dcube.planning.facts import DatasetFacts, Machine
from dcube.planning.throughput import CandidateSpeed, DiffusionSpeed

# Measured on two CPU cores: DVC, MLflow and the files of a stage take about as long as its imports again.
STAGE = 2.0
EVALUATION = 3.0  # with resamples and pictures


@dataclass(frozen=True)
class Speeds:
    """Of everything that is trained.

    Attributes:
        candidates: by name; the untrained control is as fast as D-Cube.
    """

    diffusion: DiffusionSpeed
    candidates: dict[CandidateName, CandidateSpeed]


def estimate(
    params: Params, facts: DatasetFacts, machine: Machine, speeds: Speeds, stages: Iterable[str]
) -> dict[str, float]:
    """Stage → seconds.

    Args:
        stages: their names in dvc.yaml.
    """
    own = _own_seconds(params, facts, speeds)
    return {name: round(_fixed(name, facts, machine) + own.get(name, 0.0), 1) for name in stages}


def fixed_seconds(facts: DatasetFacts, machine: Machine, stages: Iterable[str]) -> float:
    """What all stages together take before and after they train anything."""
    return sum(_fixed(name, facts, machine) for name in stages)


def _fixed(stage: str, facts: DatasetFacts, machine: Machine) -> float:
    if stage == "prepare":
        return STAGE * machine.stage_seconds + facts.seconds
    return (EVALUATION if stage.startswith("evaluate") else STAGE) * machine.stage_seconds


def _own_seconds(params: Params, facts: DatasetFacts, speeds: Speeds) -> dict[str, float]:
    speed, candidates = speeds.diffusion, dict(speeds.candidates)
    candidates[UNTRAINED] = candidates[DCUBE]
    measured = measurement_seconds(params, speed)
    real = facts.training_images * speed.features
    seconds = {
        "train_diffusion": real + diffusion_seconds(params, facts, speed),
        "track_fid": measured,
        "select_features": params.features.images * speed.solver_step,
        "synthesize": synthetic_images(params, facts) * speed.solver_step * params.synthesis.sampling_steps,
    }
    for name, recipe in recipes(params).items():
        seconds[STAGES[name]] = training_seconds(candidates[name], recipe.optimisation, facts)
        predicted = facts.count("validation") + facts.count("test")
        seconds[f"evaluate@{name}"] = predicted * candidates[name].evaluated
    return seconds


def recipes(params: Params) -> dict[CandidateName, Recipe]:
    """Candidate → how it is trained."""
    return {
        IMAGENET_PROBE: imagenet_probe_recipe(params.baseline.seed),
        DCUBE: head_recipe(DCUBE, params.classifier),
        UNTRAINED: head_recipe(UNTRAINED, params.classifier),
        SUB_FEATURES: sub_features_recipe(params.classifier),
        BASELINE: method_recipe(params.baseline),
    }


def diffusion_seconds(params: Params, facts: DatasetFacts, speed: DiffusionSpeed) -> float:
    """Of stage 1's steps and measurements of FID."""
    settings = params.diffusion
    per_epoch = steps_per_epoch(facts.images_of_stage_1, settings.batch_size)
    measurements = math.ceil(settings.epochs * per_epoch / max(1, round(settings.fid_every * per_epoch)))
    return settings.epochs * per_epoch * speed.step + measurements * measurement_seconds(params, speed)


def measurement_seconds(params: Params, speed: DiffusionSpeed) -> float:
    """Of one measurement of FID."""
    return params.fid.samples * (params.fid.sampling_steps * speed.solver_step + speed.features)


def training_seconds(speed: CandidateSpeed, optimisation: Optimisation, facts: DatasetFacts) -> float:
    """Of a candidate's training."""
    encoded = (facts.training_images + facts.count("validation")) * speed.encoded
    return encoded + optimisation.epochs * epoch_seconds(speed, optimisation.batch_size, facts)


def epoch_seconds(speed: CandidateSpeed, batch_size: int, facts: DatasetFacts) -> float:
    """Of one epoch of a candidate and its validation."""
    steps = steps_per_epoch(facts.training_images, batch_size)
    if speed.encoded:  # one layer on features takes no time
        return steps * speed.step
    statistics = min(facts.training_images, STATISTICS_IMAGES) * speed.statistics
    return steps * speed.step + statistics + facts.count("validation") * speed.evaluated


def synthetic_images(params: Params, facts: DatasetFacts) -> int:
    """As many as make all classes as frequent as the largest."""
    counts = facts.classes.values()
    return min(params.synthesis.maximum, sum(max(counts) - count for count in counts))
