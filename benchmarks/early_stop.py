"""Features of the paper's selection (blocks 6, 8 and 9 of 0 … 12): stopping at the deepest against a whole pass."""

from collections.abc import Sequence

import torch

from benchmarks.measure import Result, Setting, interleaved, speed
from benchmarks.networks import CLASSES, CPU
from dcube.config.schema import Diffusion
from dcube.diffusion.uvit import UViT
from dcube.diffusion.weights import build_uvit

SELECTED = (6, 8, 9)


def benchmark(setting: Setting) -> list[Result]:
    results = []
    for size in setting.sizes:
        # The depth is the paper's at both sizes; at 32 pixels the width is a small preset's.
        sizes = {} if size >= 128 else {"patch_size": 4, "width": 128, "heads": 4}
        model = build_uvit(Diffusion(**sizes), size, 1, CLASSES).to(CPU).eval()
        images = torch.rand(8, 1, size, size) * 2 - 1
        t = torch.ones(len(images), dtype=torch.int64)
        with torch.inference_mode():
            timing = interleaved(
                lambda model=model, x=images, t=t: whole_pass(model, x, t, SELECTED),
                lambda model=model, x=images, t=t: model.forward_intermediates(x, t, indices=SELECTED),
                setting.repeats,
            )
        amount = (len(images), len(images))
        results.append(speed("features, early stop", f"{size} px, depth 12", "images", amount, timing, 1.3))
    return results


def whole_pass(model: UViT, images: torch.Tensor, t: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
    """Blocks' outputs caught on the way of an ordinary forward pass."""
    caught: list[torch.Tensor] = []
    handles = [model.blocks[i].register_forward_hook(lambda *call: caught.append(call[2])) for i in blocks]
    model(images, t)
    for handle in handles:
        handle.remove()
    return caught
