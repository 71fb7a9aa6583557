"""Training of a candidate in stage 2. Averaged weights are selected on the validation split at fixed timesteps."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcube.classifier.augmentation import augment
from dcube.classifier.calibration import fit_temperature
from dcube.classifier.candidate import probabilities
from dcube.classifier.class_balance import CrossEntropy, cross_entropy_of, epoch_order, validation_weights
from dcube.classifier.encoding import encode_table, is_encoded_first
from dcube.classifier.image_table import ImageTable
from dcube.classifier.losses import consistency_loss, cycle_loss
from dcube.classifier.networks.contract import OwnLosses, PretrainsItself
from dcube.config.schema import Compute, HeadSettings, Optimisation
from dcube.diffusion.ranges import to_model_range
from dcube.engine.batch_norm import statistics_estimated_again
from dcube.engine.batch_sampler import DistributedBatchSampler
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.classification_metrics import unweighted_auroc
from dcube.engine.device import autocast
from dcube.engine.distributed import gather_uneven, rank, shard, shard_size
from dcube.engine.optimisers import OPTIMISERS
from dcube.engine.rng import Rng
from dcube.engine.seeds import derived_seed, numpy_generator
from dcube.engine.trainer import Row, Trainer, TrainerState
from dcube.features.frozen_uvit import FrozenUViT

# Training images that estimate the batch-norm statistics before a validation.
STATISTICS_IMAGES = 2048


@dataclass(frozen=True)
class ClassifierResult:
    weights: dict[str, Tensor]
    state: TrainerState
    validation: dict[str, float]


def train_candidate(
    head: nn.Module,
    uvit: FrozenUViT | None,
    train: ImageTable,
    validation: ImageTable,
    optimisation: Optimisation,
    head_settings: HeadSettings,
    compute: Compute,
    checkpoints: Checkpoints,
    on_rows: Callable[[Iterable[Row]], None] = lambda rows: None,
    name: str = "the classifier",
) -> ClassifierResult:
    """Train `head`, resuming from `checkpoints` if there are any.

    Args:
        head: network on its device. A frozen encoder sees each image once, unless augmentation changes the images.
        uvit: None for a network without diffusion features, to which Eq. (7) does not apply.
        head_settings: ignored for a network with its own losses (`OwnLosses`).
        name: name in the progress display.

    Returns:
        The averaged weights with the smallest validation cross-entropy after calibration (Berta et al., Rethinking
        Early Stopping: Refine, Then Calibrate, 2025). AUROC would not detect that all images fall into one class.
    """
    device = next(head.parameters()).device
    if is_encoded_first(head, optimisation):
        size = optimisation.batch_size
        train, validation = (encode_table(table, head, size, device) for table in (train, validation))
    sampler = DistributedBatchSampler(
        len(train),
        optimisation.batch_size,
        order=lambda epoch: epoch_order(optimisation.class_balance, train.all_labels, optimisation.seed, epoch),
    )
    cross_entropy = cross_entropy_of(optimisation.class_balance, train.all_labels, device)

    def losses(step: int) -> dict[str, Tensor]:
        images, diffusion_images, labels = train.take(sampler.at(step), device)
        with autocast(device, compute):
            return classifier_losses(
                head, uvit, images, diffusion_images, labels, optimisation, head_settings, step, cross_entropy
            )

    def validate(averaged: nn.Module, step: int) -> Row:
        timesteps, size = head_settings.evaluation_timesteps, optimisation.batch_size
        estimate_batch_statistics(averaged, uvit, train, timesteps, optimisation)
        predicted = validation_probabilities(averaged, uvit, validation, timesteps, size, device)
        weights = validation_weights(optimisation.class_balance, validation.labels)
        fitted = fit_temperature(predicted, validation.labels, weights)
        assert fitted.cross_entropy is not None
        return {**validation_metrics(predicted, validation.labels), "score": -fitted.cross_entropy}

    trainer = Trainer(head, optimisation, checkpoints, make_optimisers=OPTIMISERS[optimisation.optimiser])
    best = trainer.fit(
        f"Training {name}",
        steps=sampler.steps_of(optimisation.epochs),
        losses=losses,
        validate=validate,
        validate_every=sampler.steps_per_epoch,
        on_rows=on_rows,
    )
    chosen = next(row for row in trainer.state.validation if row["step"] == trainer.state.best_step)
    return ClassifierResult(best, trainer.state, {k: v for k, v in chosen.items() if k != "score"})


def pretrain(
    head: nn.Module,
    optimisation: Optimisation,
    compute: Compute,
    checkpoints: Checkpoints,
    on_rows: Callable[[Iterable[Row]], None] = lambda rows: None,
    steps: int | None = None,
) -> None:
    """Pretrain a network with AdamW on its own task without labels, if it has one, resuming from `checkpoints`.

    Args:
        steps: number of steps; None: the network's own number.
    """
    if not isinstance(head, PretrainsItself):
        return
    network, images = copy.deepcopy(head), shard_size(optimisation.batch_size)
    device = next(head.parameters()).device

    def losses(step: int) -> dict[str, Tensor]:
        rng = Rng(device, images, optimisation.seed, "pretraining step", step)
        with autocast(device, compute):
            return network.pretraining_losses(rng)

    count = steps or head.pretraining_steps
    trainer = Trainer(network, optimisation, checkpoints)
    last = trainer.fit(
        "Pretraining without labels",
        steps=count,
        losses=losses,
        validate=lambda _, step: {"score": step},
        validate_every=count,
        on_rows=lambda rows: on_rows(
            [{key if key == "step" else f"pretraining_{key}": value for key, value in row.items()} for row in rows]
        ),
    )
    head.load_state_dict(last)


@torch.no_grad()
def estimate_batch_statistics(
    head: nn.Module, uvit: FrozenUViT | None, train: ImageTable, timesteps: Sequence[int], optimisation: Optimisation
) -> None:
    """Estimate the batch-norm statistics of `head` again on training images with its current weights.

    Args:
        timesteps: timesteps of the predictions that follow.
    """
    order = numpy_generator(optimisation.seed, "batch statistics").permutation(len(train))[:STATISTICS_IMAGES]
    sampler = DistributedBatchSampler(len(order), optimisation.batch_size, order=lambda _: order)
    device = next(head.parameters()).device
    with statistics_estimated_again(head) as needed:
        for step in range(sampler.steps_per_epoch if needed else 0):
            images, diffusion_images, labels = train.take(sampler.at(step), device)
            if isinstance(head, OwnLosses):
                head.losses(images, labels, Rng(device, len(labels), optimisation.seed, "batch statistics", step))
            else:
                probabilities(head, uvit, images, diffusion_images, timesteps)


def classifier_losses(
    head: nn.Module,
    uvit: FrozenUViT | None,
    images: Tensor,
    diffusion_images: Tensor,
    labels: Tensor,
    optimisation: Optimisation,
    settings: HeadSettings,
    step: int,
    cross_entropy: CrossEntropy = F.cross_entropy,
) -> dict[str, Tensor]:
    """Return L_cls of Eq. (10) and its terms. Images and their mirror images share one forward pass.

    The input is the clean image at a random t (paper §IV-B2); the cycle loss adds noise to it, as in Eq. (7).

    Args:
        images, diffusion_images, labels: this process's shard of the step's batch.
        cross_entropy: Eq. (9), or a variant that gives rare classes more weight (`class_balance`).
    """
    n = len(labels)
    torch.manual_seed(derived_seed(optimisation.seed, "dropout", step, rank()))  # also for stochastic depth
    rng = Rng(labels.device, n, optimisation.seed, "classifier step", step)
    images, diffusion_images = augment(images, diffusion_images, optimisation.augmentation, optimisation.seed, step)
    flip = rng.uniform() < optimisation.flip_probability
    images, diffusion_images = _flipped(images, flip), _flipped(diffusion_images, flip)
    if isinstance(head, OwnLosses):
        return head.losses(images, labels, rng)
    clean = to_model_range(diffusion_images)
    t = rng.integers(settings.timestep_low, settings.timestep_high + 1)
    mirrored = settings.consistency_weight > 0
    inputs = clean
    if uvit is not None and uvit.noised:
        inputs = uvit.input_at(clean, t, rng.normal(*clean.shape[1:]))
    logits = _logits(head, uvit, _with_mirror(images, mirrored), _with_mirror(inputs, mirrored), t)
    # fmt: off
    supervised = cross_entropy(logits[:n].float(), labels)                     # Eq. (9)
    values = {"loss": supervised, "cross_entropy": supervised}
    if mirrored:
        values["consistency_loss"] = consistency_loss(logits[:n], logits[n:])  # Eq. (8)
        values["loss"] = values["loss"] + settings.consistency_weight * values["consistency_loss"]
    if uvit is not None and settings.cycle_weight > 0:
        noise = rng.normal(*clean.shape[1:])
        level = rng.integers(0, uvit.schedule.timesteps)
        noisy = uvit.schedule.add_noise(clean, noise, level)
        values["cycle_loss"] = cycle_loss(uvit.model, noisy, level, logits[:n], labels)
        values["loss"] = values["loss"] + settings.cycle_weight * values["cycle_loss"]
    return values                                                              # Eq. (10)
    # fmt: on


def _logits(head: nn.Module, uvit: FrozenUViT | None, images: Tensor, inputs: Tensor, t: Tensor) -> Tensor:
    if uvit is None:
        return head(images, ())
    return head(images, uvit.features(inputs, t.repeat(len(inputs) // len(t))))


def _flipped(images: Tensor, flip: Tensor) -> Tensor:
    return torch.where(flip[:, None, None, None], images.flip(-1), images)


def _with_mirror(images: Tensor, mirrored: bool) -> Tensor:
    return torch.cat((images, images.flip(-1))) if mirrored else images


def validation_probabilities(
    head: nn.Module,
    uvit: FrozenUViT | None,
    table: ImageTable,
    timesteps: Sequence[int],
    batch_size: int,
    device: torch.device,
) -> np.ndarray:
    """Return probabilities (n, classes) of the whole table from all processes, float64, computed in float32."""
    positions, batches = shard(np.arange(len(table))), []
    for start in range(0, len(positions), batch_size):
        images, diffusion_images, _ = table.take(positions[start : start + batch_size], device)
        batches.append(probabilities(head, uvit, images, diffusion_images, timesteps).cpu())
    return gather_uneven(torch.cat(batches)).double().numpy()


def validation_metrics(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return AUROC (one-vs-rest, mean over classes), cross-entropy and accuracy."""
    chosen = np.clip(predicted[np.arange(len(predicted)), labels], 1e-12, 1.0)
    return {
        "auroc": unweighted_auroc(labels, predicted),
        "cross_entropy": float(-np.log(chosen).mean()),
        "accuracy": float((predicted.argmax(axis=1) == labels).mean()),
    }
