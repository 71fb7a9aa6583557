"""Fréchet and kernel distance between real and generated images (paper Table V)."""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from dcube.artifacts.atomic import atomic_write
from dcube.artifacts.schemas.fid import Blockiness, Distances, FidDefinition, FidReport
from dcube.config.schema import Fid
from dcube.data.prepared import PreparedDataset
from dcube.engine.seeds import numpy_generator
from dcube.generative_metrics.blockiness import blockiness
from dcube.generative_metrics.class_counts import apportion
from dcube.generative_metrics.extractor import load_extractor

KERNEL_SUBSETS, LARGEST_KERNEL_SUBSET = 100, 500


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) of two feature sets (n, d) and (m, d) (Heusel et al. 2017).

    With Σ = AᵀA for the centred and scaled features A, tr (Σ₁ Σ₂)^½ is the sum of the singular values of A₁ A₂ᵀ. This
    avoids the square root of a product of covariances, which is singular and inaccurate with fewer images than features
    (the usual case here). It is also faster, because A can be replaced by the R of its QR decomposition.
    """
    means, roots = zip(*(_mean_and_root(features) for features in (first, second)), strict=True)
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(np.square(root).sum() for root in roots)
    return float(max(0.0, np.square(means[0] - means[1]).sum() + spread - 2 * overlap))


def _mean_and_root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return μ (d,) and a matrix A (min(n, d), d) with AᵀA = Σ."""
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    root = (features - mean) / np.sqrt(len(features) - 1)
    if len(root) > root.shape[1]:
        root = np.linalg.qr(root, mode="r")
    return mean, root


def kernel_distance(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the unbiased kernel distance (Bińkowski et al. 2018): mean and standard deviation over random subsets."""
    size = min(LARGEST_KERNEL_SUBSET, max(2, min(len(first), len(second)) // 2))
    generator = numpy_generator(0, "subsets of the kernel distance")

    def subset(features: np.ndarray) -> Tensor:
        return torch.from_numpy(features[generator.choice(len(features), size, replace=False)])

    values = torch.stack([poly_mmd(subset(first), subset(second)) for _ in range(KERNEL_SUBSETS)])
    return values.mean().item(), values.std().item()


class FrechetTracker:
    """Comparison of generated images with the labelled training images of a data set.

    Args:
        fid: parameters of the measurement.
        dataset: its labelled training images are the reference.
        device: the device of the extractor.
        cache: folder where features of real images are kept between runs; None keeps them only in memory.

    Attributes:
        labels: (fid.samples,) class indices of the images to generate, in the class ratio of the training images.
        seeds: one seed for each image to generate.

    Raises:
        DcubeError: if the extractor's weights cannot be loaded.
    """

    def __init__(self, fid: Fid, dataset: PreparedDataset, device: torch.device, cache: Path | None = None) -> None:
        self.fid, self.dataset, self.cache = fid, dataset, cache
        self.extractor = load_extractor(fid, device)
        self.rows = dataset.indices("train")
        self.real_labels = dataset.labels[self.rows]
        frequencies = np.bincount(self.real_labels, minlength=len(dataset.classes))
        counts = apportion(fid.samples, dict(zip(dataset.classes, frequencies.tolist(), strict=True)))
        self.labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(list(counts.values())))
        self.seeds = [fid.seed + i for i in range(fid.samples)]

    def report(self, generated: Tensor, labels: Tensor, patch_size: int) -> FidReport:
        """Measure the distances and blockiness of generated images.

        Args:
            generated: (n, C, S, S) uint8.
            labels: (n,) class indices.
            patch_size: side of the model's patches in pixels.
        """
        jumps = [blockiness(images, patch_size) for images in (generated.numpy(), self.real_images)]
        return FidReport(
            overall=self.measure(generated, labels),
            classes=self.measure_classes(generated, labels),
            blockiness=Blockiness(generated=jumps[0], real=jumps[1]),
            definition=self.definition,
        )

    def measure(self, generated: Tensor, labels: Tensor) -> Distances:
        """Measure the distances to the real images of the same classes.

        Args:
            generated: (n, C, S, S) uint8, n at least 2.
            labels: (n,) class indices; only real images of these classes are compared.
        """
        real = self._real_features[np.isin(self.real_labels, labels.numpy())]
        features = self.extractor(generated)
        kid, deviation = kernel_distance(real, features)
        return Distances(fid=frechet_distance(real, features), kid=kid, kid_std=deviation)

    def measure_classes(self, generated: Tensor, labels: Tensor) -> dict[str, Distances]:
        """Measure each class separately; classes with fewer than two real or generated images are left out."""
        measured = {}
        for index, name in enumerate(self.dataset.classes):
            chosen = labels == index
            if min(int(chosen.sum()), int((self.real_labels == index).sum())) >= 2:
                measured[name] = self.measure(generated[chosen], labels[chosen])
        return measured

    @property
    def real_images(self) -> np.ndarray:
        """(n, C, S, S) uint8 labelled training images, in the order of `real_labels`."""
        return self.dataset.images(self.dataset.diffusion_image_size)[self.rows]

    @property
    def definition(self) -> FidDefinition:
        return FidDefinition(
            extractor=self.extractor.name,
            weights_sha256=self.extractor.weights_sha256,
            resize=self.fid.resize,
            n_real=len(self.rows),
            n_generated=self.fid.samples,
            sampling_steps=self.fid.sampling_steps,
            seed=self.fid.seed,
        )

    @cached_property
    def _real_features(self) -> np.ndarray:
        if self.cache is None:
            return self._extract_real()
        identity = (self.dataset.fingerprint, self.dataset.diffusion_image_size, self.fid.resize)
        key = hashlib.sha256(repr((*identity, self.extractor.weights_sha256)).encode()).hexdigest()
        path = self.cache / f"features-{key}.safetensors"
        try:
            return safetensors.numpy.load_file(path)["features"]
        except (FileNotFoundError, SafetensorError):
            features = self._extract_real()
            self.cache.mkdir(parents=True, exist_ok=True)
            atomic_write(path, safetensors.numpy.save({"features": features}))
            return features

    def _extract_real(self) -> np.ndarray:
        return self.extractor(self.real_images)
