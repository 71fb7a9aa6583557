"""Augmentation of training images by small changes, like those of positioning and exposure.

There is no strong rotation, no crop and no change of colour, so that a part of the body keeps its place and a finding
its appearance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from dcube.config.schema import Augmentation
from dcube.engine.rng import Rng


@dataclass(frozen=True)
class Strength:
    """The largest changes. Each change is drawn uniformly up to its largest value, in both directions.

    Attributes:
        rotation: angle in degrees.
        shift: fraction of the image's side.
        scale, brightness, contrast: deviation of the factor from 1.
        noise: standard deviation of the added Gaussian noise, as a fraction of 255.
    """

    rotation: float = 7.0
    shift: float = 0.04
    scale: float = 0.06
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0


STRENGTHS: dict[Augmentation, Strength] = {
    "geometric": Strength(),
    "radiograph": Strength(brightness=0.1, contrast=0.15, noise=0.01),
    # Values of CT are calibrated: brightness carries meaning. MRI has no absolute scale.
    "ct": Strength(brightness=0.02, contrast=0.03, noise=0.02),
    "mri": Strength(brightness=0.15, contrast=0.2, noise=0.02),
}
DRAWS = 6


def augment(
    images: Tensor, diffusion_images: Tensor, kind: Augmentation, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """Apply the same random changes to each image and to its copy at the diffusion model's size.

    Args:
        images, diffusion_images: (n, C, S, S) and (n, C, s, s) uint8, this process's shard.
        seed, step: determine the changes, independently of the number of processes.
    """
    if kind == "none":
        return images, diffusion_images
    strength = STRENGTHS[kind]
    draws = (2 * Rng("cpu", len(images), seed, "augmentation", step).uniform(DRAWS) - 1).tolist()
    noise = Rng(images.device, len(images), seed, "augmentation noise", step)
    changed = (
        torch.stack([_moved(image, strength, draw) for image, draw in zip(batch, draws, strict=True)])
        for batch in (images, diffusion_images)
    )
    large, small = (_noisy(batch, strength, noise) for batch in changed)
    return large, small


def _moved(image: Tensor, strength: Strength, draw: list[float]) -> Tensor:
    angle, right, down, scale, brightness, contrast = draw
    shift = strength.shift * image.shape[-1]
    image = F.affine(
        image,
        angle=strength.rotation * angle,
        translate=[shift * right, shift * down],
        scale=1 + strength.scale * scale,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    if strength.brightness:
        image = F.adjust_brightness(image, 1 + strength.brightness * brightness)
    return F.adjust_contrast(image, 1 + strength.contrast * contrast) if strength.contrast else image


def _noisy(images: Tensor, strength: Strength, rng: Rng) -> Tensor:
    if not strength.noise:
        return images
    noise = 255 * strength.noise * rng.normal(*images.shape[1:])
    return (images + noise).round().clamp(0, 255).to(torch.uint8)
