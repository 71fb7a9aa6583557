"""The trained diffusion model as files."""

from pathlib import Path

import torch
from torch import Tensor

from dcube.artifacts.weights import load_into, load_weights, save_weights
from dcube.config.schema import Diffusion
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.uvit import UViT


def build_uvit(diffusion: Diffusion, image_size: int, channels: int, classes: int) -> UViT:
    """A U-ViT of the configured size with first weights from `diffusion.seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(diffusion.seed)
        return UViT(
            image_size, channels, classes,
            diffusion.patch_size, diffusion.width, diffusion.depth, diffusion.heads,
        )  # fmt: skip


def save_diffusion(folder: Path, tensors: dict[str, Tensor], diffusion: Diffusion, dataset: PreparedDataset) -> str:
    """Returns the sha256 of the weights."""
    config = {
        "diffusion": diffusion.model_dump(mode="json"),
        "image_size": dataset.diffusion_image_size,
        "channels": dataset.channels,
        "classes": dataset.classes,
        "data_fingerprint": dataset.fingerprint,
    }
    return save_weights(folder, tensors, config)


def load_diffusion(folder: Path, device: torch.device) -> tuple[UViT, NoiseSchedule]:
    """The frozen U-ViT in eval mode, and its noise schedule."""
    tensors, config = load_weights(folder)
    diffusion = Diffusion.model_validate(config["diffusion"])
    model = build_uvit(diffusion, config["image_size"], config["channels"], len(config["classes"]))
    load_into(model, tensors, folder)
    return model.to(device).eval().requires_grad_(False), NoiseSchedule(diffusion)


def load_diffusion_config(folder: Path) -> Diffusion:
    """The parameters that the model in `folder` was trained with."""
    return Diffusion.model_validate(load_weights(folder)[1]["diffusion"])
