"""What a frozen encoder makes of the images: computed once, before what comes after it is trained."""

from typing import TypeGuard

import numpy as np
import torch
from torch import nn

from dcube.classifier.image_table import ImageTable
from dcube.classifier.networks.contract import FrozenEncoder
from dcube.config.schema import Optimisation
from dcube.engine.distributed import gather_uneven, progress_of_all, shard


def is_encoded_first(network: nn.Module, optimisation: Optimisation) -> TypeGuard[FrozenEncoder]:
    """Whether it sees each image once, before the training: not where augmentation makes other images of it."""
    return isinstance(network, FrozenEncoder) and optimisation.augmentation == "none"


def encode_table(table: ImageTable, network: FrozenEncoder, batch_size: int, device: torch.device) -> ImageTable:
    """The table with features (n, F, 1, 2) instead of images, and without diffusion images.

    Batches follow the table's order, so that a resumed training gets the same bits.
    """
    positions, parts = shard(np.arange(len(table.rows))), []
    with progress_of_all("Encoding the images", total=len(positions), unit="images") as advance:
        for start in range(0, len(positions), batch_size):
            images, _, _ = table.take(positions[start : start + batch_size], device)
            parts.append(network.encode(images).float().cpu())
            advance(len(images))
    features = gather_uneven(torch.cat(parts)).numpy()
    unused = np.zeros((len(features), 1, 1, 1), dtype=np.uint8)
    extra = encode_table(table.extra, network, batch_size, device) if table.extra else None
    return ImageTable(features, unused, table.labels, np.arange(len(features)), extra)
