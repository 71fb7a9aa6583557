"""The networks that are timed: a small one at 32 pixels, the paper's at 128. Weights do not matter for speed."""

import torch
from torch import Tensor

from dcube.config.schema import Compute, Diffusion
from dcube.diffusion.uvit import UViT
from dcube.diffusion.weights import build_uvit

CPU = torch.device("cpu")
CLASSES = 3
BFLOAT16 = Compute(device="cpu", precision="bfloat16")
FLOAT32 = Compute(device="cpu", precision="float32")


def diffusion_of(size: int) -> Diffusion:
    """The paper's U-ViT (blocks 0 … 12) from 128 pixels on; below, the one of the small presets."""
    if size >= 128:
        return Diffusion(label_dropout=0.5)
    return Diffusion(patch_size=4, width=128, depth=4, heads=4, label_dropout=0.5)


def uvit_of(size: int) -> UViT:
    return build_uvit(diffusion_of(size), size, 1, CLASSES)


def name_of(size: int) -> str:
    return f"{size} px, paper's U-ViT" if size >= 128 else f"{size} px, small U-ViT"


def as_pair(model: UViT, x: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """The published U-ViT's only way to be called: two images, one after the other; outside stage 1 the same twice."""
    return model(x, t, condition), model(x, t, condition)
