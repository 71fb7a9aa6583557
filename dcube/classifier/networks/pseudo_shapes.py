"""Generated images of geometric shapes on a noisy grey background, with the shape of every pixel as its label."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dcube.engine.rng import Rng

# Number of shapes in an image. The kind of each is drawn from six, one of which is "no shape".
SLOTS = 4

# Whether a point is in the shape, in coordinates with half-axes of 1 around its centre: u to the right, v downwards.
RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ellipse": lambda u, v: u.square() + v.square() <= 1,
    "rectangle": lambda u, v: torch.maximum(u.abs(), v.abs()) <= 1,
    "triangle": lambda u, v: (v.abs() <= 1) & (u.abs() <= (1 + v) / 2),
    "ring": lambda u, v: ((u.square() + v.square()) - 0.65).abs() <= 0.35,
    "cross": lambda u, v: (torch.maximum(u.abs(), v.abs()) <= 1) & (torch.minimum(u.abs(), v.abs()) <= 0.35),
}
PIXEL_CLASSES = 1 + len(RULES)  # 0 is the background


@dataclass(frozen=True)
class Shapes:
    """K shapes in each of B images; later ones hide earlier ones. Lengths are fractions of the image's side.

    Attributes:
        kind: (B, K), index from 1 in the order of `RULES`; 0: no shape.
        centre: (B, K, 2), from the left and from the top.
        half_axes: (B, K, 2), along u and v.
        angle: (B, K), in radians from the image's x axis to u.
        contrast: (B, K), added to the brightness of the background, where 1 is white.
    """

    kind: Tensor
    centre: Tensor
    half_axes: Tensor
    angle: Tensor
    contrast: Tensor


def draw_shapes(rng: Rng) -> Shapes:
    parts = rng.uniform(SLOTS, 8).unbind(dim=2)
    sign = torch.where(parts[6] < 0.5, -1.0, 1.0)
    return Shapes(
        kind=(parts[0] * PIXEL_CLASSES).long().clamp(max=PIXEL_CLASSES - 1),
        centre=between(0.1, 0.9, torch.stack(parts[1:3], dim=2)),
        half_axes=between(0.06, 0.22, torch.stack(parts[3:5], dim=2)),
        angle=between(0, math.pi, parts[5]),
        contrast=sign * between(0.08, 0.35, parts[7]),
    )


def inside(shapes: Shapes, side: int) -> Tensor:
    """Return a mask (B, K, side, side): whether a pixel's centre is in a shape."""
    pixels = (torch.arange(side, device=shapes.angle.device) + 0.5) / side
    centre, half_axes = shapes.centre[..., None, None], shapes.half_axes[..., None, None]
    cosine, sine = shapes.angle.cos()[..., None, None], shapes.angle.sin()[..., None, None]
    # fmt: off
    x, y = pixels[None, :] - centre[:, :, 0], pixels[:, None] - centre[:, :, 1]  # (B, K, 1, S), (B, K, S, 1)
    u = (cosine * x + sine * y) / half_axes[:, :, 0]                             # (B, K, S, S)
    v = (cosine * y - sine * x) / half_axes[:, :, 1]                             # (B, K, S, S)
    # fmt: on
    found = torch.zeros_like(u, dtype=torch.bool)
    for number, rule in enumerate(RULES.values(), start=1):
        found |= (shapes.kind == number)[..., None, None] & rule(u, v)
    return found


def insert(ground: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
    """Add shapes to backgrounds (B, side, side); return the images and pixel labels, (B, side, side) each."""
    labels, signal = torch.zeros_like(ground, dtype=torch.long), torch.zeros_like(ground)
    for number, mask in enumerate(inside(shapes, ground.shape[-1]).unbind(dim=1)):
        labels = torch.where(mask, shapes.kind[:, number, None, None], labels)
        signal = torch.where(mask, shapes.contrast[:, number, None, None], signal)
    return ground + signal, labels


def draw_images(rng: Rng, side: int) -> tuple[Tensor, Tensor]:
    """Return grey images (B, 1, side, side) uint8 and their pixel labels (B, side, side)."""
    levels, sharpness, noisiness = rng.uniform(3, 1, 1).unbind(dim=1)
    # fmt: off
    clouds = F.interpolate(rng.normal(1, 4, 4), (side, side), mode="bicubic")[:, 0]       # (B, S, S)
    ground = between(0.3, 0.7, levels) + 0.08 * clouds                                      # (B, S, S)
    clear, labels = insert(ground, draw_shapes(rng))                                      # (B, S, S)
    blurred = blur(clear, between(0.004, 0.02, sharpness[:, 0, 0]) * side)                  # (B, S, S)
    noisy = blurred + between(0.01, 0.08, noisiness) * rng.normal(side, side)             # (B, S, S)
    # fmt: on
    return (noisy.clamp(0, 1) * 255).round().to(torch.uint8)[:, None], labels


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur images (B, S, S) by Gaussians with standard deviations (B,) in pixels."""
    radius = min(math.ceil(0.06 * images.shape[-1]), images.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernels = torch.exp(-0.5 * (offsets / sigma[:, None]).square())
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    padded = F.pad(images[None], (radius,) * 4, mode="reflect")
    across = F.conv2d(padded, kernels[:, None, None, :], groups=len(images))
    return F.conv2d(across, kernels[:, None, :, None], groups=len(images))[0]


def between(low: float, high: float, fraction: Tensor) -> Tensor:
    return low + (high - low) * fraction
