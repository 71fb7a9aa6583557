"""Features of a frozen encoder, computed once before the layers behind it are trained."""

from typing import TypeGuard

import numpy as np
import torch
from torch import nn

from dcube.classifier.image_table import ImageTable
from dcube.classifier.networks.contract import FrozenEncoder
from dcube.config.schema import Optimisation
from dcube.engine.distributed import gather_uneven, progress_of_all, shard


def is_encoded_first(network: nn.Module, optimisation: Optimisation) -> TypeGuard[FrozenEncoder]:
    """Return whether images can be encoded once before training: augmentation would change them in every epoch."""
    return isinstance(network, FrozenEncoder) and optimisation.augmentation == "none"


def encode_table(table: ImageTable, network: FrozenEncoder, batch_size: int, device: torch.device) -> ImageTable:
    """Return the table with features (n, F, 1, 2) in place of images, and zeros in place of diffusion images.

    Batches follow the table's order, so that a resumed training gets bit-identical features.
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
