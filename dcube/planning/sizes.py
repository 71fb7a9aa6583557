"""Sizes of networks and images from which a plan chooses."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class UViTSize:
    """A size of the U-ViT, with the learning rate of the presets for small networks or of the paper for its size."""

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
    """Return the parameters of a size as `group__name` → value."""
    return {
        "data__diffusion_image_size": size.side,
        "diffusion__patch_size": size.patch,
        "diffusion__width": size.width,
        "diffusion__depth": size.depth,
        "diffusion__heads": size.heads,
        "diffusion__learning_rate": size.learning_rate,
    }


def sides_up_to(sides: Sequence[int], raw: float) -> list[int]:
    """Return the sides up to the first one not below that of the raw images, ascending: images may be enlarged."""
    ordered = sorted(set(sides))
    return [side for position, side in enumerate(ordered) if position == 0 or ordered[position - 1] < raw]


def place(size: object, ascending: Sequence[object]) -> str:
    """Return the place of a size in words: "the smallest", "number 2 from the smallest", …, "the largest"."""
    position = ascending.index(size)
    if position in (0, len(ascending) - 1):
        return "the largest" if position else "the smallest"
    return f"number {position + 1} from the smallest"
