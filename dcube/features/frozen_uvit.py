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
    """A U-ViT that is never trained and never given a label.

    Attributes:
        model: in eval mode, without gradients.
        schedule: of the noise that it was trained with.
        blocks: whose features are used.
        noised: its input at t is the image noised to t, instead of the clean image (Table VII).
    """

    model: UViT
    schedule: NoiseSchedule
    blocks: tuple[int, ...]
    noised: bool = False

    def input_at(self, clean: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """The model's input at t (B,) for clean images (B, C, s, s) in [-1, 1].

        Args:
            noise: of that shape, used if `noised`; None: the same fixed noise for every image, so that a prediction
                depends on its image alone.
        """
        if not self.noised:
            return clean
        if noise is None:
            noise = torch.randn(clean.shape[1:], generator=torch_generator("cpu", 0, "noise of an evaluation"))
        return self.schedule.add_noise(clean, noise.to(clean).expand_as(clean), t)

    @torch.no_grad()
    def features(self, inputs: Tensor, t: Tensor) -> list[Tensor]:
        """Features of the selected blocks, (B, width, h, w) each, of inputs (B, C, s, s) at t (B,)."""
        return self.model.forward_intermediates(inputs, t, indices=self.blocks)


def freeze(model: UViT, device: torch.device) -> UViT:
    """The model on a device, in eval mode and without gradients."""
    return model.to(device).eval().requires_grad_(False)


def with_random_weights(uvit: FrozenUViT, diffusion: Diffusion, seed: int) -> FrozenUViT:
    """The untrained control: the same network and blocks with first weights from another seed."""
    size = uvit.model.grid * diffusion.patch_size
    channels = uvit.model.final_convolution.in_channels
    model = build_uvit(diffusion.model_copy(update={"seed": seed}), size, channels, uvit.model.classes)
    return replace(uvit, model=freeze(model, next(uvit.model.parameters()).device))


def load_frozen_uvit(diffusion: Path, selection: Path, classifier: Classifier, device: torch.device) -> FrozenUViT:
    """The trained U-ViT with the blocks that `classifier.selection` names.

    Args:
        diffusion: folder of the trained diffusion model.
        selection: folder of `select_features`.
    """
    selected = Selection.load(selection / SELECTION)
    model, schedule = load_diffusion(diffusion, device)
    return FrozenUViT(
        model, schedule, tuple(selected.blocks(classifier.selection)), noised=classifier.input == "noised"
    )
