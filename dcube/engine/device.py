"""Choice of device and precision."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dcube.config.schema import Compute
from dcube.errors import DcubeError
from dcube.runtime.settings import read_settings


def choose_device(compute: Compute) -> torch.device:
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise DcubeError("compute.device is cuda, and this machine has no usable GPU: set it to auto or cpu")
    if compute.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    index = read_settings().local_rank
    if index >= (gpus := torch.cuda.device_count()):
        raise DcubeError(f"this machine has {gpus} usable GPUs: start at most {gpus} processes on it, one per GPU")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def computes_in_bfloat16(device: torch.device, compute: Compute) -> bool:
    """Return whether matrix products use bfloat16; with `auto`, if the hardware has instructions for it."""
    if compute.precision != "auto":
        return compute.precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextmanager
def autocast(device: torch.device, compute: Compute) -> Iterator[None]:
    """Use mixed precision inside the block, if chosen. Weights and optimiser stay in float32."""
    if not computes_in_bfloat16(device, compute):
        yield
        return
    with torch.autocast(device.type, dtype=torch.bfloat16), _attention(device):
        yield


def _attention(device: torch.device) -> AbstractContextManager:
    # Measured in bfloat16 on a CPU, for networks other than the U-ViT: fused attention is fast in the forward pass, but
    # so slow in the backward pass that a whole step takes 1.4 × as long (65 tokens).
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" and torch.is_grad_enabled() else nullcontext()
