"""Sizes of networks and images that a plan chooses from."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class UViTSize:
    """With the learning rate of the presets for small networks, and of the paper for its own."""

    side: int
    patch: int
    width: int
    depth: int
    heads: int
    learning_rate: float


UVITS = (
    UViTSize(32, 4, 96, 4, 4, 2e-3),
    UViTSize(32, 4, 128, 4, 4, 2e-3),
    UViTSize(64, 8, 128, 4, 4, 2e-3),
    UViTSize(128, 8, 256, 8, 8, 5e-4),
    UViTSize(128, 8, 512, 12, 8, 2e-4),
)
CNN_SIDES = (64, 128, 224)


def uvit_values(size: UViTSize) -> dict[str, float]:
    """`group__name` → value."""
    return {
        "data__diffusion_image_size": size.side,
        "diffusion__patch_size": size.patch,
        "diffusion__width": size.width,
        "diffusion__depth": size.depth,
        "diffusion__heads": size.heads,
        "diffusion__learning_rate": size.learning_rate,
    }


def sides_up_to(sides: Sequence[int], raw: float) -> list[int]:
    """Those below the side of the raw images, and the next: a smaller image is enlarged, not cut."""
    ordered = sorted(set(sides))
    return [side for position, side in enumerate(ordered) if position == 0 or ordered[position - 1] < raw]
