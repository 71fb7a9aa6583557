"""Saving and loading of the trained diffusion model."""

from pathlib import Path

import torch
from torch import Tensor

from dcube.artifacts.layout import CONFIG
from dcube.artifacts.schemas.diffusion import DiffusionConfig
from dcube.artifacts.weights import load_into, load_weights, save_weights
from dcube.config.schema import Diffusion
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.uvit import UViT


def build_uvit(diffusion: Diffusion, image_size: int, channels: int, classes: int) -> UViT:
    """Build a U-ViT of the configured size, with initial weights from `diffusion.seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(diffusion.seed)
        return UViT(
            image_size, channels, classes,
            diffusion.patch_size, diffusion.width, diffusion.depth, diffusion.heads,
        )  # fmt: skip


def save_diffusion(
    folder: Path, tensors: dict[str, Tensor], best_step: int, diffusion: Diffusion, dataset: PreparedDataset
) -> str:
    """Save the weights of `best_step` with their configuration, and return the sha256 of the weights file."""
    config = DiffusionConfig(
        diffusion=diffusion,
        image_size=dataset.diffusion_image_size,
        best_step=best_step,
        channels=dataset.channels,
        classes=dataset.classes,
        data_fingerprint=dataset.fingerprint,
    )
    return save_weights(folder, tensors, config)


def load_diffusion(folder: Path, device: torch.device) -> tuple[UViT, NoiseSchedule]:
    """Load the frozen U-ViT in eval mode, and its noise schedule."""
    tensors, config = load_weights(folder, DiffusionConfig)
    model = build_uvit(config.diffusion, config.image_size, config.channels, len(config.classes))
    load_into(model, tensors, folder)
    return model.to(device).eval().requires_grad_(False), NoiseSchedule(config.diffusion)


def load_diffusion_config(folder: Path) -> DiffusionConfig:
    """Load the configuration of the model in `folder`, without its weights."""
    return DiffusionConfig.load(folder / CONFIG)
