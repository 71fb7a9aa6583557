"""Estimated time of every stage in seconds, from the measured time per step and the number of steps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dcube.artifacts.candidates import DCUBE, STAGES, UNTRAINED, CandidateName
from dcube.classifier.recipe import Recipe, recipe_of
from dcube.classifier.training import STATISTICS_IMAGES
from dcube.config.schema import Optimisation, Params
from dcube.engine.batch_sampler import steps_of, steps_per_epoch
from dcube.engine.trainer import validations
from dcube.features.selection import images_tested
from dcube.generative_metrics.class_counts import synthetic_counts
from dcube.planning.dataset_and_machine import DatasetFacts, Machine
from dcube.planning.throughput import CandidateSpeed, DiffusionSpeed

# Measured on a CPU, in units of the import time of a training stage; with DVC, MLflow and the files of a stage.
FIRST_STAGE = 1.6  # imports for all
STAGE = 0.3
EVALUATION = 0.8  # with resamples and figures
REGISTRATION = 2.5
NOTHING_TO_DO = 0.1  # `probe` without labels

AS_FAST_AS: dict[CandidateName, CandidateName] = {UNTRAINED: DCUBE}  # candidate → the one measured in its place


@dataclass(frozen=True)
class Speeds:
    """Measured speeds of everything that is trained.

    Attributes:
        diffusion: speed of stage 1.
        candidates: speeds by name, without the candidates of `AS_FAST_AS`.
        probe: seconds of the whole stage `probe` (`dcube.planning.probes`).
    """

    diffusion: DiffusionSpeed
    candidates: dict[CandidateName, CandidateSpeed]
    probe: float


def estimate(
    params: Params, facts: DatasetFacts, machine: Machine, speeds: Speeds, stages: Iterable[str]
) -> dict[str, float]:
    """Estimate stage → seconds.

    Args:
        stages: names of the stages in dvc.yaml.
    """
    own, fixed = _own_seconds(params, facts, speeds), fixed_seconds(params, facts, machine, stages)
    return {name: round(seconds + own.get(name, 0.0), 1) for name, seconds in fixed.items()}


def fixed_seconds(params: Params, facts: DatasetFacts, machine: Machine, stages: Iterable[str]) -> dict[str, float]:
    """Return stage → seconds that the stage takes besides training."""
    imports = {
        "prepare": FIRST_STAGE,
        "register": REGISTRATION,
        "probe": STAGE if params.probe.labels else NOTHING_TO_DO,
    }
    return {
        name: imports.get(name, EVALUATION if name.startswith("evaluate") else STAGE) * machine.stage_seconds
        + (facts.seconds if name == "prepare" else 0.0)
        for name in stages
    }


def _own_seconds(params: Params, facts: DatasetFacts, speeds: Speeds) -> dict[str, float]:
    speed = speeds.diffusion
    measured = measurement_seconds(params, speed)
    real = facts.training_images * speed.features
    seconds = {
        "train_diffusion": real + diffusion_seconds(params, facts, speed),
        "track_fid": measured,
        "select_features": images_tested(params.features, facts.images_of_stage_1) * speed.solver_step,
        "synthesize": synthetic_images(params, facts) * speed.solver_step * params.synthesis.sampling_steps,
        "probe": speeds.probe,
    }
    predicted = facts.count("validation") + facts.count("test")
    for name, recipe in recipes(params).items():
        of_candidate = speed_of(name, speeds.candidates)
        seconds[STAGES[name]] = training_seconds(of_candidate, recipe.optimisation, facts)
        seconds[f"evaluate@{name}"] = predicted * of_candidate.evaluation
    return seconds


def speed_of(name: CandidateName, measured: Mapping[CandidateName, CandidateSpeed]) -> CandidateSpeed:
    return measured[AS_FAST_AS.get(name, name)]


def recipes(params: Params) -> dict[CandidateName, Recipe]:
    """Return candidate → recipe of its training."""
    return {name: recipe_of(name, params) for name in STAGES}


def diffusion_seconds(params: Params, facts: DatasetFacts, speed: DiffusionSpeed) -> float:
    """Return the seconds of stage 1: training steps and measurements of FID, whose images the processes share."""
    settings = params.diffusion
    per_epoch = steps_per_epoch(facts.images_of_stage_1, settings.batch_size)
    steps = steps_of(settings.epochs, per_epoch)
    measurements = validations(steps, steps_of(settings.fid_every, per_epoch))
    return steps * speed.step + measurements * measurement_seconds(params, speed) / params.compute.processes


def measurement_seconds(params: Params, speed: DiffusionSpeed) -> float:
    """Return the seconds of one measurement of FID by one process."""
    return params.fid.samples * (params.fid.sampling_steps * speed.solver_step + speed.features)


def training_seconds(speed: CandidateSpeed, optimisation: Optimisation, facts: DatasetFacts) -> float:
    """Return the seconds of a candidate's training."""
    per_epoch = steps_per_epoch(facts.training_images, optimisation.batch_size)
    steps = steps_of(optimisation.epochs, per_epoch)
    encoded = (facts.training_images + facts.count("validation")) * speed.encoding
    return encoded + steps * speed.step + validations(steps, per_epoch) * _validation_seconds(speed, facts)


def images_seen(optimisation: Optimisation, training_images: int) -> int:
    """Return how many images a training sees, each as often as it is seen."""
    size = min(optimisation.batch_size, training_images)
    return size * steps_of(optimisation.epochs, steps_per_epoch(training_images, size))


def epoch_seconds(speed: CandidateSpeed, batch_size: int, facts: DatasetFacts) -> float:
    """Return the seconds of one epoch of a candidate with its validation."""
    return steps_per_epoch(facts.training_images, batch_size) * speed.step + _validation_seconds(speed, facts)


def _validation_seconds(speed: CandidateSpeed, facts: DatasetFacts) -> float:
    """Return the seconds of one validation and of estimating batch-normalisation statistics before it."""
    if speed.encoding:  # a single layer on precomputed features takes hardly any time
        return 0.0
    statistics = min(facts.training_images, STATISTICS_IMAGES) * speed.statistics
    return statistics + facts.count("validation") * speed.validation


def synthetic_images(params: Params, facts: DatasetFacts) -> int:
    counts = synthetic_counts(facts.classes, params.synthesis.ratio, params.synthesis.maximum)
    return sum(counts.values())
