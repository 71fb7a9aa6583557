"""Frozen features for linear probes: of single blocks, of all blocks concatenated, and sub-features."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dcube.config.schema import Classifier, Probe
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.ranges import to_model_range
from dcube.engine.image_network import ImageNetwork
from dcube.engine.progress import progress
from dcube.engine.rng import torch_generator
from dcube.engine.seeds import derived_seed
from dcube.features.frozen_uvit import FrozenUViT
from dcube.features.pooling import Vectors, pooled_maps, side_by_side
from dcube.features.probing import ProbeImages, probe_blocks
from dcube.features.sub_features import build_sub_network

InputAt = Callable[[Tensor, Tensor, np.ndarray], Tensor]  # takes clean images, t and rows of the data set


def probe_every_block(uvit: FrozenUViT, dataset: PreparedDataset, images: ProbeImages, probe: Probe) -> pd.DataFrame:
    """Probe each block at each timestep. The noise of an image is the same at all timesteps and for all models."""
    shape = (dataset.channels, dataset.diffusion_image_size, dataset.diffusion_image_size)

    def noised(clean: Tensor, t: Tensor, rows: np.ndarray) -> Tensor:
        generators = [torch_generator("cpu", probe.seed, "noise of the probe", int(row)) for row in rows]
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        return uvit.schedule.add_noise(clean, noise.to(clean), t)

    parts = []
    with progress("Mapping blocks and timesteps", len(probe.timesteps) * len(images.rows), "images") as advance:
        for t in probe.timesteps:
            blocks = pooled_maps(_block_maps(uvit, dataset, t, noised), images.rows, probe.batch_size, advance)
            parts.append(probe_blocks(blocks, images).assign(timestep=t))
    return pd.concat(parts, ignore_index=True)


def stage_2_vectors(
    uvit: FrozenUViT, dataset: PreparedDataset, images: ProbeImages, classifier: Classifier, probe: Probe
) -> Vectors:
    """Return concatenated vectors of all blocks at all evaluation timesteps, with the same inputs as in stage 2."""
    levels = classifier.evaluation_timesteps

    def as_in_stage_2(clean: Tensor, t: Tensor, rows: np.ndarray) -> Tensor:
        return uvit.input_at(clean, t)

    with progress("Reading the features", len(levels) * len(images.rows), "images") as advance:
        maps = [_block_maps(uvit, dataset, t, as_in_stage_2) for t in levels]
        parts = [pooled_maps(maps_of, images.rows, probe.batch_size, advance) for maps_of in maps]
    return side_by_side(vectors for part in parts for vectors in part)


def sub_feature_vectors(
    dataset: PreparedDataset, images: ProbeImages, classifier: Classifier, probe: Probe, device: torch.device
) -> np.ndarray | None:
    """Return the mean-pooled map of the sub-feature network before fine-tuning, (n, channels); None if it is unused."""
    if not classifier.use_sub_features:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(probe.seed, "first weights"))
        sub_network, _ = build_sub_network(classifier.sub_features, dataset.image_size, load_pretrained=True)
    network = ImageNetwork(sub_network).to(device).eval()
    stored = dataset.images(dataset.image_size)

    def maps_of(rows: np.ndarray) -> list[Tensor]:
        return network(torch.from_numpy(stored[rows]).to(device))

    with progress("Reading the sub-features", len(images.rows), "images") as advance:
        (vectors,) = pooled_maps(maps_of, images.rows, probe.batch_size, advance, poolings=["mean"])
    return vectors["mean"]


def _block_maps(
    uvit: FrozenUViT, dataset: PreparedDataset, timestep: int, input_at: InputAt
) -> Callable[[np.ndarray], list[Tensor]]:
    """Return a function from rows of the data set to the maps of all selected blocks at one timestep."""
    stored, device = dataset.images(dataset.diffusion_image_size), next(uvit.model.parameters()).device

    def maps_of(rows: np.ndarray) -> list[Tensor]:
        clean = to_model_range(torch.from_numpy(stored[rows]).to(device))
        t = torch.full((len(rows),), timestep, device=device)
        return uvit.features(input_at(clean, t, rows), t)

    return maps_of
