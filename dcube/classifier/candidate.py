"""A candidate: any classifier of this project, built, saved, loaded and asked in the same way.

Kinds: `dcube` (head on the trained U-ViT), `untrained_uvit` (the same head on random U-ViT weights), `sub_features`
(the sub-feature network alone), or the name of a method to compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.weights import load_into, load_weights, save_weights, under_prefix, with_prefix
from dcube.classifier.calibration import tempered
from dcube.classifier.head import DCubeHead, SubFeatureClassifier
from dcube.classifier.methods.building import build_method
from dcube.classifier.methods.contract import Task
from dcube.config.schema import Baseline, Classifier, Diffusion, SubFeatures
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.ranges import to_model_range
from dcube.diffusion.uvit import UViT
from dcube.diffusion.weights import build_uvit
from dcube.engine.pretrained import NO_WEIGHTS, create_pretrained
from dcube.engine.rng import torch_generator

DCUBE, UNTRAINED, SUB_FEATURES = "dcube", "untrained_uvit", "sub_features"
BASELINE = "baseline"  # a candidate's name; its kind is the method's
ON_DIFFUSION_FEATURES = (DCUBE, UNTRAINED)


@dataclass(frozen=True)
class FrozenUViT:
    """The diffusion model as stage 2 sees it: never trained, asked without a label at low noise.

    Attributes:
        noised: show it the image noised to t, instead of the clean one (Table VII).
    """

    model: UViT
    schedule: NoiseSchedule
    blocks: tuple[int, ...]
    noised: bool = False

    def shown(self, clean: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """What of clean images (B, C, s, s) it is shown at t (B,).

        Args:
            noise: of that shape, where it is noised; None: the same fixed noise for every image, so that an answer
                depends on its image alone.
        """
        if not self.noised:
            return clean
        if noise is None:
            noise = torch.randn(clean.shape[1:], generator=torch_generator("cpu", 0, "noise of an evaluation"))
        return self.schedule.add_noise(clean, noise.to(clean).expand_as(clean), t)

    @torch.no_grad()
    def features(self, clean: Tensor, t: Tensor) -> list[Tensor]:
        """Selected blocks' features, (B, width, h, w) each, of images (B, C, s, s) in [-1, 1] at t (B,)."""
        return self.model.forward_intermediates(clean, t, indices=self.blocks)


@dataclass(frozen=True)
class Candidate:
    """A trained classifier.

    Attributes:
        config: `config.json`.
        head: the trained part, in eval mode.
        uvit: the frozen part; None for kinds that use no diffusion features.
    """

    config: CandidateConfig
    head: nn.Module
    uvit: FrozenUViT | None

    @property
    def kind(self) -> str:
        return self.config.kind

    @property
    def classes(self) -> list[str]:
        return self.config.classes

    @property
    def channels(self) -> int:
        return self.config.input.channels

    @property
    def image_size(self) -> int:
        return self.config.input.image_size

    @property
    def diffusion_image_size(self) -> int:
        return self.config.input.diffusion_image_size

    @property
    def temperature(self) -> float:
        return self.config.calibration.temperature

    def predict(
        self,
        images: np.ndarray,
        diffusion_images: np.ndarray,
        batch_size: int = 64,
        timesteps: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Calibrated probabilities (n, classes), float64.

        Args:
            images: (n, C, S, S) uint8 at `image_size`.
            diffusion_images: (n, C, s, s) uint8 at `diffusion_image_size`.
            timesteps: noise levels to average over, instead of the evaluation's.
        """
        device = next(self.head.parameters()).device
        batches = [
            probabilities(
                self.head,
                self.uvit,
                torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size])).to(device),
                torch.from_numpy(np.ascontiguousarray(diffusion_images[start : start + batch_size])).to(device),
                timesteps or self.config.evaluation_timesteps,
            ).cpu()
            for start in range(0, len(images), batch_size)
        ]
        return tempered(torch.cat(batches).double().numpy(), self.temperature)


@torch.inference_mode()
def probabilities(
    head: nn.Module, uvit: FrozenUViT | None, images: Tensor, diffusion_images: Tensor, timesteps: Sequence[int]
) -> Tensor:
    """(B, classes) probabilities of uint8 images, averaged over fixed noise levels."""
    if uvit is None:
        return head(images, ()).float().softmax(dim=1)
    clean = to_model_range(diffusion_images)
    levels = [torch.full((len(clean),), t, device=clean.device) for t in timesteps]
    shown = [uvit.features(uvit.shown(clean, t), t) for t in levels]
    return torch.stack([head(images, features).float().softmax(dim=1) for features in shown]).mean(dim=0)


def build_head(
    kind: str, classifier: Classifier, baseline: Baseline, task: Task, uvit: FrozenUViT | None, load_pretrained: bool
) -> nn.Module:
    """The trainable part of a kind, with pretrained weights where its parameters ask for them.

    Args:
        load_pretrained: False when all weights are about to be overwritten.
    """
    if kind not in (*ON_DIFFUSION_FEATURES, SUB_FEATURES):
        return build_method(kind, task, baseline if load_pretrained else NO_WEIGHTS)
    sub_network, sub_channels = None, 0
    if classifier.use_sub_features or uvit is None:
        sub_network, sub_channels = build_sub_network(classifier.sub_features, task.image_size, load_pretrained)
    if uvit is None:
        assert sub_network is not None
        return SubFeatureClassifier(sub_network, sub_channels, task.classes, classifier.dropout)
    return DCubeHead(
        sub_network,
        sub_channels,
        diffusion_channels=len(uvit.blocks) * uvit.model.width,
        grid=uvit.model.grid,
        classes=task.classes,
        fused_channels=classifier.fused_channels,
        dropout=classifier.dropout,
    )


def save_candidate(folder: Path, head: dict[str, Tensor], uvit: FrozenUViT | None, config: CandidateConfig) -> str:
    """Write a candidate that needs nothing but this folder; returns the sha256 of its weights."""
    tensors = with_prefix("head", head)
    if uvit is not None:
        tensors |= with_prefix("uvit", uvit.model.state_dict())
        config = config.model_copy(update={"blocks": list(uvit.blocks), "noised": uvit.noised})
    return save_weights(folder, tensors, config)


def load_candidate(folder: Path, device: torch.device) -> Candidate:
    """Raises: DcubeError: it is damaged, or another version of this program made it."""
    tensors, config = load_weights(folder, CandidateConfig)
    params = config.params
    task = Task(len(config.classes), config.input.image_size, config.input.channels)
    uvit = None
    if config.blocks is not None:
        model = build_uvit(params.diffusion, config.input.diffusion_image_size, task.channels, task.classes)
        load_into(model, under_prefix("uvit", tensors), folder)
        schedule = NoiseSchedule(params.diffusion)
        uvit = FrozenUViT(_frozen(model, device), schedule, tuple(config.blocks), config.noised)
    head = build_head(config.kind, params.classifier, params.baseline, task, uvit, load_pretrained=False)
    load_into(head, under_prefix("head", tensors), folder)
    return Candidate(config, head.to(device).eval(), uvit)


def _frozen(model: UViT, device: torch.device) -> UViT:
    return model.to(device).eval().requires_grad_(False)


def untrained(uvit: FrozenUViT, diffusion: Diffusion, seed: int) -> FrozenUViT:
    """The control: the same network and blocks with the first weights of another seed."""
    size = uvit.model.grid * diffusion.patch_size
    channels = uvit.model.final_convolution.in_channels
    model = build_uvit(diffusion.model_copy(update={"seed": seed}), size, channels, uvit.model.classes)
    return replace(uvit, model=_frozen(model, next(uvit.model.parameters()).device))


def build_sub_network(sub_features: SubFeatures, image_size: int, load_pretrained: bool) -> tuple[nn.Module, int]:
    """The timm network beside the U-ViT, (B, 3, S, S) to [(B, channels, h, w)], and its channels."""
    network = create_pretrained(
        sub_features.architecture,
        sub_features if load_pretrained else NO_WEIGHTS,
        image_size,
        features_only=True,
        out_indices=(sub_features.stage,),
    )
    return network, cast(FeatureInfo, network.feature_info).channels()[0]
