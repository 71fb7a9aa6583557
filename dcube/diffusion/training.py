"""Stage 1: training the U-ViT on pairs until FID no longer improves (paper §III-B1)."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcube.config.schema import Compute, Diffusion
from dcube.data.prepared import UNLABELLED, PreparedDataset
from dcube.diffusion.losses import contrastive_loss, squared_distance_pooled, squared_distance_published
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.pairs import PairSampler
from dcube.diffusion.ranges import to_model_range
from dcube.diffusion.sampler import sample
from dcube.diffusion.uvit import UViT
from dcube.diffusion.weights import build_uvit
from dcube.engine.batch_sampler import DistributedBatchSampler
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.device import autocast
from dcube.engine.distributed import broadcast_object, gather_uneven, shard
from dcube.engine.optimisers import OPTIMISERS
from dcube.engine.rng import Rng, torch_generator
from dcube.engine.trainer import Row, Trainer, TrainerState
from dcube.generative_metrics.blockiness import blockiness
from dcube.generative_metrics.frechet import FrechetTracker

VALIDATION_IMAGES = 512
SAMPLING_BATCH = 256


@dataclass(frozen=True)
class DiffusionResult:
    weights: dict[str, Tensor]
    state: TrainerState


def train_diffusion(
    dataset: PreparedDataset,
    diffusion: Diffusion,
    tracker: FrechetTracker,
    compute: Compute,
    device: torch.device,
    checkpoints: Checkpoints,
    on_rows: Callable[[Iterable[Row]], None] = lambda rows: None,
    on_samples: Callable[[Tensor, Tensor, int], None] = lambda images, labels, step: None,
) -> DiffusionResult:
    """Train the U-ViT on all training images, with or without a label; resumes from `checkpoints`.

    Args:
        tracker: measures FID, and defines the images that are generated for it.
        on_rows: called with new rows of losses and validation results.
        on_samples: called with (images uint8 (n, C, S, S), labels (n,), step) at every measurement of FID.

    Returns:
        The averaged weights (EMA) with the best FID, and the state of the training.
    """
    rows = dataset.indices("train", labelled=False)
    batches = PairBatches(dataset, rows, diffusion, device)
    model = build_uvit(diffusion, dataset.diffusion_image_size, dataset.channels, len(dataset.classes)).to(device)
    schedule = NoiseSchedule(diffusion)
    network = torch.compile(model) if compute.compile else model

    def losses(step: int) -> dict[str, Tensor]:
        with autocast(device, compute):
            return pair_losses(network, model, schedule, diffusion, batches.at(step), step)

    def validate(averaged: nn.Module, step: int) -> Row:
        assert isinstance(averaged, UViT)
        shape = (dataset.channels, dataset.diffusion_image_size, dataset.diffusion_image_size)
        labels, seeds = shard(tracker.labels), shard(tracker.seeds)
        with autocast(device, compute):
            part = sample(averaged, schedule, labels, seeds, tracker.fid.sampling_steps, SAMPLING_BATCH, shape)
        images = gather_uneven(part)
        return broadcast_object(lambda: measure(averaged, images, step))

    def measure(averaged: UViT, images: Tensor, step: int) -> Row:
        on_samples(images, tracker.labels, step)
        measured = {
            **tracker.measure(images, tracker.labels).model_dump(),
            "blockiness": blockiness(images.numpy(), diffusion.patch_size),
        }
        print(f"FID at step {step}: {measured['fid']:.0f}", file=sys.stderr, flush=True)
        return {**measured, "noise_mse": noise_error(averaged, schedule, dataset, device), "score": -measured["fid"]}

    trainer = Trainer(model, diffusion, checkpoints, diffusion.warmup_steps, OPTIMISERS[diffusion.optimiser])
    best = trainer.fit(
        "Training the diffusion model",
        steps=batches.sampler.steps_of(diffusion.epochs),
        losses=losses,
        validate=validate,
        validate_every=batches.sampler.steps_of(diffusion.fid_every),
        patience=diffusion.patience,
        on_rows=on_rows,
    )
    return DiffusionResult(best, trainer.state)


@dataclass(frozen=True)
class PairBatch:
    """A batch of N pairs.

    Attributes:
        first, second: (N, C, S, S) uint8 images.
        first_labels, second_labels: (N,) class indices.
        different, labelled: (N,) bool, as in `Pairs`.
    """

    first: Tensor
    second: Tensor
    first_labels: Tensor
    second_labels: Tensor
    different: Tensor
    labelled: Tensor


class PairBatches:
    """The pairs of this process at each step. Images are read from the memory map only when they are needed."""

    def __init__(self, dataset: PreparedDataset, rows: np.ndarray, diffusion: Diffusion, device: torch.device) -> None:
        self.images, self.rows, self.labels = dataset.images(dataset.diffusion_image_size), rows, dataset.labels[rows]
        self.sampler = DistributedBatchSampler(
            len(rows), diffusion.batch_size, order=PairSampler(self.labels, diffusion.seed).epoch
        )
        self.device = device

    def at(self, step: int) -> PairBatch:
        pairs = self.sampler.at(step)
        return PairBatch(
            self._to_device(self.images[self.rows[pairs.first]]),
            self._to_device(self.images[self.rows[pairs.second]]),
            self._to_device(self.labels[pairs.first]),
            self._to_device(self.labels[pairs.second]),
            self._to_device(pairs.different),
            self._to_device(pairs.labelled),
        )

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)


def pair_losses(
    network: Callable,
    model: UViT,
    schedule: NoiseSchedule,
    diffusion: Diffusion,
    batch: PairBatch,
    step: int,
) -> dict[str, Tensor]:
    """Compute L_gen of Eq. (5) and its parts for one batch, in one forward pass over both images of every pair.

    The label is dropped for both images of a pair or for neither. The pooled contrastive loss compares features only
    of pairs with dropped labels, because otherwise the label embedding alone could satisfy the loss. Pairs that Eq. (4)
    compares share t and noise; the images of other pairs have their own, which learns faster.

    Args:
        network: `model`, compiled or not.
        batch: this process's shard of the step's pairs.
        step: index of the training step; with `diffusion.seed` it determines t, noise and dropped labels.
    """
    n = len(batch.first)
    rng = Rng(batch.first.device, n, diffusion.seed, "diffusion step", step)
    t, second_t = rng.integers(0, schedule.timesteps), rng.integers(0, schedule.timesteps)
    dropped = rng.uniform() < diffusion.label_dropout
    compared = _compared(batch, dropped, diffusion)
    # fmt: off
    clean = to_model_range(torch.cat((batch.first, batch.second)))              # (2N, C, S, S)
    noise, second_noise = (rng.normal(*clean.shape[1:]) for _ in range(2))      # (N, C, S, S)
    t = torch.cat((t, torch.where(compared, t, second_t)))                      # (2N,)
    noise = torch.cat((noise, torch.where(compared[:, None, None, None], noise, second_noise)))
    labels = torch.cat((batch.first_labels, batch.second_labels))               # (2N,)
    labels = labels.masked_fill(dropped.repeat(2), UNLABELLED)
    noisy = schedule.add_noise(clean, noise, t)
    output, middle = network(noisy, t, model.embed_labels(labels), middle_features=True)
    error = (output.float() - schedule.target(clean, noise, t)).square().flatten(1).mean(dim=1)
    diffusion_loss = error[:n].mean() + error[n:].mean()                        # Eq. (3), both images
    contrastive = _contrastive(middle, batch, compared, diffusion)
    loss = diffusion_loss + diffusion.contrastive_weight * contrastive          # Eq. (5)
    # fmt: on
    return {"loss": loss, "diffusion_loss": diffusion_loss, "contrastive_loss": contrastive}


def _compared(batch: PairBatch, dropped: Tensor, diffusion: Diffusion) -> Tensor:
    """Return (N,) bool: whether Eq. (4) compares each pair."""
    of_mode = {"off": torch.zeros_like(dropped), "published": batch.labelled, "pooled": batch.labelled & dropped}
    return of_mode[diffusion.contrastive]


def _contrastive(middle: Tensor, batch: PairBatch, compared: Tensor, diffusion: Diffusion) -> Tensor:
    if diffusion.contrastive == "off":
        return middle.new_zeros(())
    distance = squared_distance_published if diffusion.contrastive == "published" else squared_distance_pooled
    return contrastive_loss(distance(*middle.chunk(2)), batch.different, diffusion.margin, compared)


@torch.inference_mode()
def noise_error(model: UViT, schedule: NoiseSchedule, dataset: PreparedDataset, device: torch.device) -> float:
    """Return the mean squared error of the label-free noise prediction on validation images, at fixed t and noise."""
    rows = dataset.indices("validation")[:VALIDATION_IMAGES]
    images = dataset.images(dataset.diffusion_image_size)
    t_all = torch.linspace(0, schedule.timesteps - 1, len(rows)).long()
    total = 0.0
    for start in range(0, len(rows), SAMPLING_BATCH):
        chunk = slice(start, start + SAMPLING_BATCH)
        clean = to_model_range(torch.from_numpy(images[rows[chunk]])).to(device)
        noise = torch.randn(clean.shape, generator=torch_generator("cpu", 0, "validation noise", start)).to(device)
        t = t_all[chunk].to(device)
        noisy = schedule.add_noise(clean, noise, t)
        total += F.mse_loss(schedule.to_epsilon(model(noisy, t), noisy, t), noise).item() * len(clean)
    return total / len(rows)
