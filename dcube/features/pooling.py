"""Pooling of the feature maps of frozen networks to one vector for each image, for linear probes."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dcube.engine.progress import Advance

POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean(dim=(2, 3)),
    "mean+max": lambda maps: torch.cat((maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))), dim=1),
    "2x2": lambda maps: F.adaptive_avg_pool2d(maps, 2).flatten(1),
}

Vectors = dict[str, np.ndarray]


@torch.inference_mode()
def pooled_maps(
    maps_of: Callable[[np.ndarray], Iterable[Tensor]],
    rows: np.ndarray,
    batch_size: int,
    advance: Advance,
    poolings: Iterable[str] = POOLINGS,
) -> list[Vectors]:
    """Return for each map a dictionary, pooling → vectors (n_rows, k · channels) float32.

    Args:
        maps_of: returns feature maps, (B, channels, h, w) each, for the images of some rows.
    """
    batches: list[list[Vectors]] = []
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        maps = [one.float() for one in maps_of(part)]
        batches.append([{name: POOLINGS[name](one).cpu().numpy() for name in poolings} for one in maps])
        advance(len(part))
    return [_joined(of_one_map, axis=0) for of_one_map in zip(*batches, strict=True)]


def side_by_side(vectors: Iterable[Vectors]) -> Vectors:
    """Concatenate the vectors of several maps, separately for each pooling."""
    return _joined(list(vectors), axis=1)


def _joined(parts: "list[Vectors] | tuple[Vectors, ...]", axis: int) -> Vectors:
    return {name: np.concatenate([part[name] for part in parts], axis=axis) for name in parts[0]}
