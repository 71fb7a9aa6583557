"""Stage 2: training a candidate; selection on validation, with averaged weights at fixed timesteps."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from dcube.classifier.candidate import FrozenUViT, probabilities
from dcube.classifier.losses import consistency_loss, cycle_loss
from dcube.classifier.methods.contract import OwnLosses, PretrainsItself
from dcube.config import Classifier, Compute
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.ranges import to_model_range
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.device import autocast
from dcube.engine.distributed import gather_uneven, rank, shard, shard_size
from dcube.engine.rng import Rng
from dcube.engine.sampler import DistributedBatchSampler
from dcube.engine.seeds import derived_seed, numpy_generator
from dcube.engine.trainer import OptimiserOf, Record, Row, Trainer

# A validation AUROC decides; among equal ones the smaller cross-entropy does.
TIE_BREAK = 1e-6


@dataclass(frozen=True)
class ImageTable:
    """Labelled images at both sizes, (n, C, S, S) and (n, C, s, s) uint8, with labels (n,).

    Extra images, synthetic or repeated real ones, follow.
    """

    images: np.ndarray
    diffusion_images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    extra: "ImageTable | None" = None

    @classmethod
    def of_split(cls, dataset: PreparedDataset, split: str) -> "ImageTable":
        return cls.of_rows(dataset, dataset.indices(split))

    @classmethod
    def of_rows(cls, dataset: PreparedDataset, rows: np.ndarray, extra: "ImageTable | None" = None) -> "ImageTable":
        images = dataset.images(dataset.image_size), dataset.images(dataset.diffusion_image_size)
        return cls(*images, dataset.labels[rows], rows, extra)

    def __len__(self) -> int:
        return len(self.rows) + (len(self.extra) if self.extra else 0)

    def take(self, positions: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Images at both sizes and labels of some positions, on the device."""
        further = positions >= len(self.rows)
        parts = [self._own(positions[~further])]
        if self.extra and further.any():
            parts.append(self.extra._own(positions[further] - len(self.rows)))
        images, small, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return tuple(torch.from_numpy(array).to(device, non_blocking=True) for array in (images, small, labels))  # type: ignore[return-value]

    def _own(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = self.rows[positions]
        return self.images[rows], self.diffusion_images[rows], self.labels[positions]


@dataclass(frozen=True)
class ClassifierResult:
    weights: dict[str, Tensor]
    record: Record
    validation: dict[str, float]


def train_candidate(
    head: nn.Module,
    uvit: FrozenUViT | None,
    train: ImageTable,
    validation: ImageTable,
    settings: Classifier,
    compute: Compute,
    checkpoints: Checkpoints,
    on_rows: Callable[[Iterable[Row]], None] = lambda rows: None,
    optimiser: OptimiserOf | None = None,
) -> ClassifierResult:
    """Train `head`; resumes from `checkpoints`.

    Args:
        head: on its device.
        uvit: None for a network that uses no diffusion features; then Eq. (7) does not apply.
        settings: a baseline's are cast into the same group, with both extra losses off.
        optimiser: instead of AdamW.

    Returns:
        The averaged weights with the best validation AUROC.
    """
    device = next(head.parameters()).device
    sampler = DistributedBatchSampler(
        len(train),
        settings.batch_size,
        order=lambda epoch: numpy_generator(settings.seed, "order", epoch).permutation(len(train)),
    )

    def losses(step: int) -> dict[str, Tensor]:
        images, diffusion_images, labels = train.take(sampler.at(step), device)
        with autocast(device, compute):
            return classifier_losses(head, uvit, images, diffusion_images, labels, settings, step)

    def validate(averaged: nn.Module, step: int) -> Row:
        measured = validation_metrics(averaged, uvit, validation, settings, device)
        return {**measured, "score": measured["auroc"] - TIE_BREAK * measured["cross_entropy"]}

    trainer = Trainer(head, settings, checkpoints, optimiser=optimiser)
    best = trainer.fit(
        "Training the classifier",
        steps=settings.epochs * sampler.steps_per_epoch,
        losses=losses,
        validate=validate,
        validate_every=sampler.steps_per_epoch,
        on_rows=on_rows,
    )
    chosen = next(row for row in trainer.record.validation if row["step"] == trainer.record.best_step)
    return ClassifierResult(best, trainer.record, {k: v for k, v in chosen.items() if k != "score"})


def pretrain(
    head: nn.Module,
    settings: Classifier,
    compute: Compute,
    checkpoints: Checkpoints,
    on_rows: Callable[[Iterable[Row]], None] = lambda rows: None,
    steps: int | None = None,
) -> None:
    """Train a network that has one on its own task without labels first; resumes from `checkpoints`.

    Args:
        steps: instead of the network's own number.
    """
    if not isinstance(head, PretrainsItself):
        return
    network, images = copy.deepcopy(head), shard_size(settings.batch_size)
    device = next(head.parameters()).device

    def losses(step: int) -> dict[str, Tensor]:
        rng = Rng(device, images, settings.seed, "pretraining step", step)
        with autocast(device, compute):
            return network.pretraining_losses(rng)

    count = steps or head.pretraining_steps
    trainer = Trainer(network, settings, checkpoints)
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


def classifier_losses(
    head: nn.Module,
    uvit: FrozenUViT | None,
    images: Tensor,
    diffusion_images: Tensor,
    labels: Tensor,
    settings: Classifier,
    step: int,
) -> dict[str, Tensor]:
    """L_cls of Eq. (10) and its parts; images and their mirror images share one forward pass.

    The input is the clean image at a random t (paper §IV-B2); the cycle loss noises it, as Eq. (7) says.

    Args:
        images, diffusion_images, labels: this process's shard of the step's batch.
    """
    n = len(labels)
    torch.manual_seed(derived_seed(settings.seed, "dropout", step, rank()))  # and stochastic depth
    rng = Rng(labels.device, n, settings.seed, "classifier step", step)
    flip = rng.uniform() < settings.flip_probability
    images, diffusion_images = _flipped(images, flip), _flipped(diffusion_images, flip)
    if isinstance(head, OwnLosses):
        return head.losses(images, labels, rng)
    clean = to_model_range(diffusion_images)
    t = rng.integers(settings.timestep_low, settings.timestep_high + 1)
    mirrored = settings.consistency_weight > 0
    shown = clean
    if uvit is not None and uvit.noised:
        shown = uvit.shown(clean, t, rng.normal(*clean.shape[1:]))
    logits = _logits(head, uvit, _with_mirror(images, mirrored), _with_mirror(shown, mirrored), t)
    # fmt: off
    cross_entropy = F.cross_entropy(logits[:n].float(), labels)                # Eq. (9)
    values = {"loss": cross_entropy, "cross_entropy": cross_entropy}
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


def _logits(head: nn.Module, uvit: FrozenUViT | None, images: Tensor, shown: Tensor, t: Tensor) -> Tensor:
    if uvit is None:
        return head(images, ())
    return head(images, uvit.features(shown, t.repeat(len(shown) // len(t))))


def _flipped(images: Tensor, flip: Tensor) -> Tensor:
    return torch.where(flip[:, None, None, None], images.flip(-1), images)


def _with_mirror(images: Tensor, mirrored: bool) -> Tensor:
    return torch.cat((images, images.flip(-1))) if mirrored else images


def validation_metrics(
    head: nn.Module, uvit: FrozenUViT | None, table: ImageTable, settings: Classifier, device: torch.device
) -> dict[str, float]:
    """AUROC (one against the rest, mean over classes), cross-entropy and accuracy in float32."""
    positions, batches = shard(np.arange(len(table))), []
    for start in range(0, len(positions), settings.batch_size):
        images, diffusion_images, _ = table.take(positions[start : start + settings.batch_size], device)
        batches.append(probabilities(head, uvit, images, diffusion_images, settings.evaluation_timesteps).cpu())
    predicted = gather_uneven(torch.cat(batches)).double().numpy()
    one_hot = np.eye(predicted.shape[1])[table.labels]
    chosen = np.clip(predicted[np.arange(len(predicted)), table.labels], 1e-12, 1.0)
    return {
        "auroc": float(roc_auc_score(one_hot, predicted, average="macro")),
        "cross_entropy": float(-np.log(chosen).mean()),
        "accuracy": float((predicted.argmax(axis=1) == table.labels).mean()),
    }
