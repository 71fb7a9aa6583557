"""Generation of synthetic images for a required class ratio (paper Table III)."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from dcube.artifacts.layout import MANIFEST
from dcube.artifacts.tables import SYNTHETIC_MANIFEST, to_csv
from dcube.config.schema import Synthesis
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.sampler import sample
from dcube.diffusion.uvit import UViT
from dcube.engine.progress import progress
from dcube.errors import DcubeError
from dcube.generative_metrics.class_counts import synthetic_counts

ENLARGED_AT_ONCE = 256


@dataclass(frozen=True)
class SyntheticImages:
    """(n, C, S, S) uint8 images at the U-ViT's size, their (n,) class indices, and their n seeds."""

    images: Tensor
    labels: Tensor
    seeds: list[int]


def generate(
    model: UViT,
    schedule: NoiseSchedule,
    dataset: PreparedDataset,
    synthesis: Synthesis,
    precision: AbstractContextManager,
) -> SyntheticImages:
    """Generate the images of each class that the labelled training images lack; there may be none.

    Args:
        model: the trained U-ViT in eval mode, on the device to use.
        precision: context manager for the precision of the network, such as `autocast(…)`.

    Raises:
        DcubeError: if all generated images are constant or have values that are not finite.
    """
    frequencies = np.bincount(dataset.labels[dataset.indices("train")], minlength=len(dataset.classes))
    real = dict(zip(dataset.classes, frequencies.tolist(), strict=True))
    counts = synthetic_counts(real, synthesis.ratio, synthesis.maximum)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(list(counts.values())))
    seeds = [synthesis.seed + i for i in range(len(labels))]
    shape = (dataset.channels, dataset.diffusion_image_size, dataset.diffusion_image_size)
    with precision, progress("Generating images", total=len(labels), unit="images") as advance:
        images = sample(
            model, schedule, labels, seeds, synthesis.sampling_steps, synthesis.batch_size, shape, on_batch=advance
        )
    _refuse_constant(images)
    return SyntheticImages(images, labels, seeds)


def _refuse_constant(images: Tensor) -> None:
    """Raise `DcubeError` if every image is constant (all its pixels are equal)."""
    flat = images.flatten(1)
    if len(flat) and (flat.amin(1) == flat.amax(1)).all():
        raise DcubeError(
            f"all {len(images)} synthetic images are constant: train the diffusion model longer, or change "
            "synthesis.sampling_steps"
        )


def save_synthetic(folder: Path, synthetic: SyntheticImages, dataset: PreparedDataset) -> None:
    """Write the manifest (id, label, seed) and `images-SIZE.npy` for both image sizes of the classifiers."""
    small = dataset.diffusion_image_size
    np.save(folder / f"images-{small}.npy", synthetic.images.numpy())
    if dataset.image_size != small:
        _save_enlarged(folder / f"images-{dataset.image_size}.npy", synthetic.images, dataset.image_size)
    table = {
        "id": [f"synthetic-{seed:06d}" for seed in synthetic.seeds],
        "label": [dataset.classes[label] for label in synthetic.labels],
        "seed": synthetic.seeds,
    }
    to_csv(pd.DataFrame(table, columns=list(SYNTHETIC_MANIFEST.columns)), folder / MANIFEST)


def _save_enlarged(path: Path, images: Tensor, size: int) -> None:
    enlarged = np.lib.format.open_memmap(path, "w+", np.uint8, (*images.shape[:2], size, size))
    for start in range(0, len(images), ENLARGED_AT_ONCE):
        part = images[start : start + ENLARGED_AT_ONCE].float()
        resized = F.interpolate(part, (size, size), mode="bicubic", antialias=True)
        enlarged[start : start + len(part)] = resized.round_().clamp_(0, 255).to(torch.uint8).numpy()
    enlarged.flush()
