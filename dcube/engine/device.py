"""Which device and which precision."""

from contextlib import AbstractContextManager, nullcontext

import torch

from dcube.config import Compute
from dcube.errors import DcubeError


def choose_device(compute: Compute) -> torch.device:
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise DcubeError("compute.device is cuda, and this machine has no usable GPU: set it to auto or cpu")
    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(compute.device)


def computes_in_bfloat16(device: torch.device, compute: Compute) -> bool:
    """Whether matrix products are in bfloat16; `auto` asks whether the hardware has instructions for it."""
    if compute.precision != "auto":
        return compute.precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(device: torch.device, compute: Compute) -> AbstractContextManager:
    """Mixed precision where it pays: weights and optimiser stay in float32."""
    if computes_in_bfloat16(device, compute):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
