"""Sampling of images from noise. An image depends only on its seed and label, not on the batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.ranges import from_model_range
from dcube.diffusion.uvit import UViT
from dcube.errors import DcubeError


@torch.inference_mode()
def sample(
    model: UViT,
    schedule: NoiseSchedule,
    labels: Tensor,
    seeds: Sequence[int],
    steps: int,
    batch_size: int,
    shape: tuple[int, int, int],
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Generate one image for each label with DPM-Solver++.

    Args:
        model: the U-ViT in eval mode, on the device to use.
        schedule: the noise schedule of the model.
        labels: (n,) class indices; -1 for an image without a class.
        seeds: n seeds of the initial noise.
        steps: solver steps, 20 to 50.
        batch_size: images per batch.
        shape: (channels, height, width).
        on_batch: called after each batch with its number of images.

    Returns:
        (n, channels, height, width) uint8 on the CPU.

    Raises:
        DcubeError: if the model generates values that are not finite.
    """
    batches = []
    for start in range(0, len(labels), batch_size):
        chunk = slice(start, start + batch_size)
        batches.append(_sample_batch(model, schedule, labels[chunk], seeds[chunk], steps, shape))
        if on_batch:
            on_batch(len(batches[-1]))
    return torch.cat(batches) if batches else torch.empty((0, *shape), dtype=torch.uint8)


def _sample_batch(
    model: UViT, schedule: NoiseSchedule, labels: Tensor, seeds: Sequence[int], steps: int, shape: tuple[int, int, int]
) -> Tensor:
    device = next(model.parameters()).device
    # Noise is drawn on the CPU, so that it is the same on every kind of device.
    noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    # fmt: off
    x = noise.to(device)                                        # (B, C, H, W)
    condition = model.embed_labels(labels.to(device))           # (B, width)
    solver = schedule.solver(steps, device)
    for t in solver.timesteps:
        output = model(x, t.expand(len(x)), condition).float()  # (B, C, H, W)
        x = solver.step(output, t, x).prev_sample               # (B, C, H, W)
    # fmt: on
    if not x.isfinite().all():
        raise DcubeError(
            f"the diffusion model generates values that are not finite in {steps} steps: train it again, or change "
            "sampling_steps"
        )
    return from_model_range(x).cpu()
