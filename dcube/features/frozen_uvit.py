"""The trained diffusion model as a frozen feature extractor (paper §III-B2)."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dcube.artifacts.layout import SELECTION
from dcube.artifacts.schemas.selection import Selection
from dcube.config.schema import Classifier, Diffusion
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.uvit import UViT
from dcube.diffusion.weights import build_uvit, load_diffusion
from dcube.engine.rng import torch_generator


@dataclass(frozen=True)
class FrozenUViT:
    """A U-ViT with frozen weights, trained or (as a control) random, that gets no label.

    Attributes:
        model: the network in eval mode, without gradients.
        schedule: noise schedule of its training.
        blocks: indices of the blocks whose features are used.
        noised: whether its input at t is the image noised to t, instead of the clean image (Table VII).
    """

    model: UViT
    schedule: NoiseSchedule
    blocks: tuple[int, ...]
    noised: bool = False

    def input_at(self, clean: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the model's input at t (B,) for clean images (B, C, s, s) in [-1, 1].

        Args:
            noise: (B, C, s, s), used if `noised`; None: the same fixed noise for every image, so that a prediction
                depends only on its image.
        """
        if not self.noised:
            return clean
        if noise is None:
            noise = torch.randn(clean.shape[1:], generator=torch_generator("cpu", 0, "noise of an evaluation"))
        return self.schedule.add_noise(clean, noise.to(clean).expand_as(clean), t)

    @torch.no_grad()
    def features(self, inputs: Tensor, t: Tensor) -> list[Tensor]:
        """Return features of the selected blocks, (B, width, h, w) each, for inputs (B, C, s, s) at t (B,)."""
        return self.model.forward_intermediates(inputs, t, indices=self.blocks)


def freeze(model: UViT, device: torch.device) -> UViT:
    """Move the model to a device, set it to eval mode and switch off its gradients."""
    return model.to(device).eval().requires_grad_(False)


def with_random_weights(uvit: FrozenUViT, diffusion: Diffusion, seed: int) -> FrozenUViT:
    """Return the untrained control: the same network and blocks with initial weights from `seed`."""
    size = uvit.model.grid * diffusion.patch_size
    channels = uvit.model.final_convolution.in_channels
    model = build_uvit(diffusion.model_copy(update={"seed": seed}), size, channels, uvit.model.classes)
    return replace(uvit, model=freeze(model, next(uvit.model.parameters()).device))


def load_frozen_uvit(diffusion: Path, selection: Path, classifier: Classifier, device: torch.device) -> FrozenUViT:
    """Load the trained U-ViT with the blocks that `classifier.selection` chooses.

    Args:
        diffusion: folder of the trained diffusion model.
        selection: output folder of the stage `select_features`.
    """
    selected = Selection.load(selection / SELECTION)
    model, schedule = load_diffusion(diffusion, device)
    return FrozenUViT(
        model, schedule, tuple(selected.blocks(classifier.selection)), noised=classifier.input == "noised"
    )
