"""Stage 2: training a candidate; selection on validation, with averaged weights at fixed timesteps."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from dcube.classifier.candidate import probabilities
from dcube.classifier.contract import Draws, OwnLosses, PretrainsItself
from dcube.classifier.head import SharedDropout
from dcube.classifier.image_table import ImageTable
from dcube.classifier.losses import consistency_loss, cycle_loss
from dcube.classifier.optimisers import optimiser_of
from dcube.config.schema import Compute, HeadLosses, Optimisation
from dcube.diffusion.ranges import to_model_range
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.device import autocast
from dcube.engine.distributed import Share, gathered, share_of
from dcube.engine.rng import torch_generator
from dcube.engine.seeds import derived_seed, numpy_generator
from dcube.engine.trainer import Record, Row, Trainer
from dcube.features.frozen_uvit import FrozenUViT

# A validation AUROC decides; among equal ones the smaller cross-entropy does.
TIE_BREAK = 1e-6


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
    optimisation: Optimisation,
    loss_settings: HeadLosses,
    compute: Compute,
    checkpoints: Checkpoints,
    on_rows: Callable[[Iterable[Row]], None] = lambda rows: None,
) -> ClassifierResult:
    """Train `head`; resumes from `checkpoints`.

    Args:
        head: on its device.
        uvit: None for a network that uses no diffusion features; then Eq. (7) does not apply.
        loss_settings: of no effect for a network with losses of its own (`OwnLosses`).

    Returns:
        The averaged weights with the best validation AUROC.
    """
    device = next(head.parameters()).device
    batch_size = min(optimisation.batch_size, len(train))
    steps_per_epoch = len(train) // batch_size
    batches = _Batches(train, batch_size, steps_per_epoch, optimisation)

    def losses(step: int) -> dict[str, Tensor]:
        share = share_of(batch_size)
        images, diffusion_images, labels = train.take(share.of(batches.at(step)), device)
        with autocast(device, compute):
            return classifier_losses(
                trainer.model, uvit, images, diffusion_images, labels, optimisation, loss_settings, step, share
            )

    def validate(averaged: nn.Module, step: int) -> Row:
        timesteps, size = loss_settings.evaluation_timesteps, optimisation.batch_size
        measured = validation_metrics(averaged, uvit, validation, timesteps, size, device)
        return {**measured, "score": measured["auroc"] - TIE_BREAK * measured["cross_entropy"]}

    trainer = Trainer(head, optimisation, checkpoints, optimiser=optimiser_of(optimisation))
    best = trainer.fit(
        "Training the classifier",
        steps=optimisation.epochs * steps_per_epoch,
        losses=losses,
        validate=validate,
        validate_every=steps_per_epoch,
        on_rows=on_rows,
    )
    chosen = next(row for row in trainer.record.validation if row["step"] == trainer.record.best_step)
    return ClassifierResult(best, trainer.record, {k: v for k, v in chosen.items() if k != "score"})


def pretrain(
    head: nn.Module,
    optimisation: Optimisation,
    compute: Compute,
    checkpoints: Checkpoints,
    on_rows: Callable[[Iterable[Row]], None] = lambda rows: None,
    steps: int | None = None,
) -> None:
    """Train a network on its own task without labels, if it has one; with AdamW; resumes from `checkpoints`.

    Args:
        steps: instead of the network's own number.
    """
    if not isinstance(head, PretrainsItself):
        return
    device = next(head.parameters()).device

    def losses(step: int) -> dict[str, Tensor]:
        share = share_of(optimisation.batch_size)
        generator = torch_generator(device, optimisation.seed, "pretraining step", step)
        with autocast(device, compute):
            assert isinstance(trainer.model, PretrainsItself)
            values = trainer.model.pretraining_losses(Draws(generator, share))
        return {name: value * share.weight for name, value in values.items()}

    count = steps or head.pretraining_steps
    trainer = Trainer(head, optimisation, checkpoints)
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


class _Batches:
    """Which images a step sees: a function of (seed, step) alone."""

    def __init__(self, train: ImageTable, batch_size: int, steps_per_epoch: int, settings: Optimisation) -> None:
        self.n, self.batch_size, self.steps_per_epoch, self.seed = (
            len(train),
            batch_size,
            steps_per_epoch,
            settings.seed,
        )
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def at(self, step: int) -> np.ndarray:
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, numpy_generator(self.seed, "order", epoch).permutation(self.n)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]


def classifier_losses(
    head: nn.Module,
    uvit: FrozenUViT | None,
    images: Tensor,
    diffusion_images: Tensor,
    labels: Tensor,
    optimisation: Optimisation,
    settings: HeadLosses,
    step: int,
    share: Share | None = None,
) -> dict[str, Tensor]:
    """L_cls of Eq. (10) and its parts; images and their mirror images share one forward pass.

    The input is the clean image at a random t (paper §IV-B2); the cycle loss noises it, as Eq. (7) says.

    Args:
        share: which part of the step's batch the images are; everything random is drawn for the whole of it, and
            over all processes the losses add up to the means over it. None: they are all of it.
    """
    n, device = len(labels), labels.device
    share = share or Share(0, n, n)
    _draw_dropout(head, derived_seed(optimisation.seed, "dropout", step), share)
    generator = torch_generator(device, optimisation.seed, "classifier step", step)
    flip = share.of(torch.rand(share.total, generator=generator, device=device)) < optimisation.flip_probability
    images, diffusion_images = _flipped(images, flip), _flipped(diffusion_images, flip)
    if isinstance(head, OwnLosses):
        own = head.losses(images, labels, Draws(generator, share))
        return {name: value * share.weight for name, value in own.items()}
    clean = to_model_range(diffusion_images)
    levels = settings.timestep_low, settings.timestep_high + 1
    t = share.of(torch.randint(*levels, (share.total,), generator=generator, device=device))
    mirrored = settings.consistency_weight > 0
    inputs = clean
    if uvit is not None and uvit.noised:
        inputs = uvit.input_at(clean, t, Draws(generator, share).normal(*clean.shape[1:]))
    logits = _logits(head, uvit, _with_mirror(images, mirrored), _with_mirror(inputs, mirrored), t)
    # fmt: off
    cross_entropy = F.cross_entropy(logits[:n].float(), labels)                # Eq. (9)
    values = {"loss": cross_entropy, "cross_entropy": cross_entropy}
    if mirrored:
        values["consistency_loss"] = consistency_loss(logits[:n], logits[n:])  # Eq. (8)
        values["loss"] = values["loss"] + settings.consistency_weight * values["consistency_loss"]
    if uvit is not None and settings.cycle_weight > 0:
        noise = share.of(torch.randn((share.total, *clean.shape[1:]), generator=generator, device=device))
        level = share.of(torch.randint(uvit.schedule.timesteps, (share.total,), generator=generator, device=device))
        noisy = uvit.schedule.add_noise(clean, noise, level)
        values["cycle_loss"] = cycle_loss(uvit.model, noisy, level, logits[:n], labels)
        values["loss"] = values["loss"] + settings.cycle_weight * values["cycle_loss"]
    return {name: value * share.weight for name, value in values.items()}      # Eq. (10)
    # fmt: on


def _draw_dropout(head: nn.Module, seed: int, share: Share) -> None:
    torch.manual_seed(seed)  # a timm network's own dropout and stochastic depth draw from here
    for module in head.modules():
        if isinstance(module, SharedDropout):
            module.draw(seed, share)


def _logits(head: nn.Module, uvit: FrozenUViT | None, images: Tensor, inputs: Tensor, t: Tensor) -> Tensor:
    if uvit is None:
        return head(images, ())
    return head(images, uvit.features(inputs, t.repeat(len(inputs) // len(t))))


def _flipped(images: Tensor, flip: Tensor) -> Tensor:
    return torch.where(flip[:, None, None, None], images.flip(-1), images)


def _with_mirror(images: Tensor, mirrored: bool) -> Tensor:
    return torch.cat((images, images.flip(-1))) if mirrored else images


def validation_metrics(
    head: nn.Module,
    uvit: FrozenUViT | None,
    table: ImageTable,
    timesteps: Sequence[int],
    batch_size: int,
    device: torch.device,
) -> dict[str, float]:
    """AUROC (one against the rest, mean over classes), cross-entropy and accuracy in float32."""
    share = share_of(len(table))
    batches = []
    for start in range(share.start, share.stop, batch_size):
        positions = np.arange(start, min(start + batch_size, share.stop))
        images, diffusion_images, _ = table.take(positions, device)
        batches.append(probabilities(head, uvit, images, diffusion_images, timesteps).cpu())
    predicted = gathered(torch.cat(batches), share).double().numpy()
    one_hot = np.eye(predicted.shape[1])[table.labels]
    chosen = np.clip(predicted[np.arange(len(predicted)), table.labels], 1e-12, 1.0)
    return {
        "auroc": float(roc_auc_score(one_hot, predicted, average="macro")),
        "cross_entropy": float(-np.log(chosen).mean()),
        "accuracy": float((predicted.argmax(axis=1) == table.labels).mean()),
    }
