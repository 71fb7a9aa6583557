"""Measured time of training steps on random images: the median of a few real steps."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from dcube.artifacts.candidates import ON_DIFFUSION_FEATURES
from dcube.classifier.candidate import build_head, probabilities
from dcube.classifier.encoding import is_encoded_first
from dcube.classifier.networks.contract import Task
from dcube.classifier.recipe import Recipe
from dcube.classifier.training import classifier_losses
from dcube.config.schema import Params
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.sampler import sample
from dcube.diffusion.training import SAMPLING_BATCH, PairBatch, pair_losses
from dcube.diffusion.weights import build_uvit
from dcube.engine.batch_norm import statistics_estimated_again
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.device import autocast, choose_device
from dcube.engine.distributed import Losses
from dcube.engine.optimisers import OPTIMISERS, MakeOptimisers, OptimiserSettings
from dcube.engine.trainer import Trainer
from dcube.features.frozen_uvit import FrozenUViT, freeze
from dcube.features.probing import MAP_STRENGTH, logistic_regression, projected_to_span, standardised_features
from dcube.generative_metrics.extractor import as_rgb, load_extractor

SECONDS = 1.5  # total duration of the measured calls, at least one
SAMPLED_ON_CPU = 32  # images in a measured batch
SAMPLED_STEPS = 2  # measured solver steps


@dataclass(frozen=True)
class DiffusionSpeed:
    """Measured seconds of stage 1. With several processes, a step is one process's shard, without communication.

    Attributes:
        step: seconds of a training step.
        solver_step: seconds per image of a solver step.
        features: seconds per image of the features for FID.
    """

    step: float
    solver_step: float
    features: float


@dataclass(frozen=True)
class CandidateSpeed:
    """Measured seconds of a candidate. The processes of a training share everything except the evaluation.

    Attributes:
        step: seconds of a training step.
        evaluation: seconds per image in the evaluation.
        validation: seconds per image in a validation during training.
        statistics: seconds per image from which batch statistics are estimated before each validation.
        encoding: seconds per image of a frozen encoder before the training.
    """

    step: float
    evaluation: float
    validation: float
    statistics: float = 0.0
    encoding: float = 0.0


def diffusion_speed(params: Params, classes: int) -> DiffusionSpeed:
    """Measure stage 1 with these parameters.

    Raises:
        DcubeError: if the weights of the FID extractor cannot be loaded.
        torch.OutOfMemoryError: if a batch does not fit into the memory of the GPU.
    """
    device, settings, data = choose_device(params.compute), params.diffusion, params.data
    shape = (data.channels, data.diffusion_image_size, data.diffusion_image_size)
    n = settings.batch_size // params.compute.processes
    model = build_uvit(settings, data.diffusion_image_size, data.channels, classes).to(device)
    network = torch.compile(model) if params.compute.compile else model
    schedule, first, labels = NoiseSchedule(settings), _images(n, shape, device), _labels(n, classes, device)
    second, others = _images(n, shape, device), labels.flip(0)
    batch = PairBatch(first, second, labels, others, labels != others, torch.ones_like(labels, dtype=torch.bool))
    at_once = SAMPLED_ON_CPU if device.type == "cpu" else SAMPLING_BATCH

    def losses(step: int) -> dict[str, Tensor]:
        with autocast(device, params.compute):
            return pair_losses(network, model, schedule, settings, batch, step)

    def generate() -> None:
        with autocast(device, params.compute):
            chosen = _labels(at_once, classes, torch.device("cpu"))
            sample(model.eval(), schedule, chosen, range(at_once), SAMPLED_STEPS, at_once, shape)

    extractor, seen = load_extractor(params.fid, device), _images(at_once, shape, device)
    with torch.inference_mode():
        features = _seconds(lambda: extractor.network(as_rgb(seen, params.fid.resize))) / at_once
    step = _step_seconds(model, settings, losses, OPTIMISERS[settings.optimiser])
    return DiffusionSpeed(step, _seconds(generate) / at_once / SAMPLED_STEPS, features)


def candidate_speed(recipe: Recipe, params: Params, classes: int) -> CandidateSpeed:
    """Measure one candidate with these parameters.

    Raises:
        torch.OutOfMemoryError: if a batch does not fit into the memory of the GPU.
    """
    device, data, optimisation = choose_device(params.compute), params.data, recipe.optimisation
    uvit = _uvit(params, classes, device) if recipe.kind in ON_DIFFUSION_FEATURES else None
    task = Task(classes, data.image_size, data.channels)
    head = build_head(recipe.kind, recipe.network, task, uvit, load_pretrained=False).to(device)
    processes = params.compute.processes
    n = optimisation.batch_size // processes
    images = _images(n, (data.channels, data.image_size, data.image_size), device)
    small = _images(n, (data.channels, data.diffusion_image_size, data.diffusion_image_size), device)
    labels, timesteps = _labels(n, classes, device), recipe.head_settings.evaluation_timesteps
    evaluated = _seconds(lambda: probabilities(head.eval(), uvit, images, small, timesteps)) / n
    inputs, encoded = images, 0.0
    if is_encoded_first(head, optimisation):
        inputs, encoded = head.encode(images), _seconds(lambda: head.encode(images)) / n / processes
    with statistics_estimated_again(head) as needed:
        statistics = evaluated / processes if needed else 0.0

    def losses(step: int) -> dict[str, Tensor]:
        with autocast(device, params.compute):
            return classifier_losses(head, uvit, inputs, small, labels, optimisation, recipe.head_settings, step)

    step = _step_seconds(head, optimisation, losses, OPTIMISERS[optimisation.optimiser])
    return CandidateSpeed(step, evaluated, evaluated / processes, statistics, encoded)


def fit_seconds(images: int, dimensions: int, classes: int) -> float:
    """Measure the seconds of fitting one linear probe on random features (images, dimensions)."""
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(images, dimensions)), np.arange(images) % classes
    standardised = standardised_features(features, np.arange(images))
    return _seconds(lambda: logistic_regression(MAP_STRENGTH).fit(projected_to_span(standardised)[0], labels))


def _uvit(params: Params, classes: int, device: torch.device) -> FrozenUViT:
    """Build a frozen U-ViT with `features.keep` selected blocks, the least number that will be selected."""
    model = build_uvit(params.diffusion, params.data.diffusion_image_size, params.data.channels, classes)
    return FrozenUViT(freeze(model, device), NoiseSchedule(params.diffusion), tuple(range(params.features.keep)))


def _step_seconds(
    model: nn.Module, settings: OptimiserSettings, losses: Losses, make_optimisers: MakeOptimisers
) -> float:
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(model, settings, Checkpoints(Path(folder), "throughput"), make_optimisers=make_optimisers)
        return _seconds(lambda: trainer.step(losses))


def _images(n: int, shape: tuple[int, int, int], device: torch.device) -> Tensor:
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, device=device)


def _labels(n: int, classes: int, device: torch.device) -> Tensor:
    return torch.arange(n, device=device) % classes


def _seconds(call: Callable[[], object]) -> float:
    """Return the median seconds of some calls, after a first call that allocates and compiles."""
    call()
    taken: list[float] = []
    while sum(taken) < SECONDS:
        _synchronise()
        started = time.perf_counter()
        call()
        _synchronise()
        taken.append(time.perf_counter() - started)
    return median(taken)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
