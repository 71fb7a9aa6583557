"""A candidate: any classifier of this project, built, saved, loaded and asked in the same way.

Kinds: `dcube` (head on the trained U-ViT), `untrained_uvit` (the same head on random U-ViT weights), `sub_features`
(the sub-feature network alone), or the name of a timm network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from dcube.classifier.calibration import tempered
from dcube.classifier.head import DCubeHead, SubFeatureClassifier, TimmClassifier
from dcube.config import Baseline, Classifier, Diffusion, SubFeatures
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.ranges import to_model_range
from dcube.diffusion.uvit import UViT
from dcube.diffusion.weights import build_uvit
from dcube.engine.pretrained import WeightsSource, create_pretrained
from dcube.engine.weights import load_into, load_weights, save_weights, under_prefix, with_prefix
from dcube.errors import DcubeError

DCUBE, UNTRAINED, SUB_FEATURES = "dcube", "untrained_uvit", "sub_features"
ON_DIFFUSION_FEATURES = (DCUBE, UNTRAINED)


@dataclass(frozen=True)
class FrozenUViT:
    """The diffusion model as stage 2 sees it: never trained, asked without a label at low noise."""

    model: UViT
    schedule: NoiseSchedule
    blocks: tuple[int, ...]

    @torch.no_grad()
    def features(self, clean: Tensor, t: Tensor) -> list[Tensor]:
        """Selected blocks' features, (B, width, h, w) each, of images (B, C, s, s) in [-1, 1] at t (B,)."""
        return self.model.forward_intermediates(clean, t, indices=self.blocks)


@dataclass(frozen=True)
class Candidate:
    """A trained classifier.

    Attributes:
        config: `config.json`: kind, classes, what it was made for (`input`), temperature, the parameters it was trained
            with, the data's fingerprint and the validation metrics.
        head: the trained part, in eval mode.
        uvit: the frozen part; None for kinds that use no diffusion features.
    """

    config: dict
    head: nn.Module
    uvit: FrozenUViT | None

    @property
    def kind(self) -> str:
        return self.config["kind"]

    @property
    def classes(self) -> list[str]:
        return self.config["classes"]

    @property
    def channels(self) -> int:
        return self.config["input"]["channels"]

    @property
    def image_size(self) -> int:
        return self.config["input"]["image_size"]

    @property
    def diffusion_image_size(self) -> int:
        return self.config["input"]["diffusion_image_size"]

    @property
    def temperature(self) -> float:
        return self.config["calibration"]["temperature"]

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
                timesteps or self.config["evaluation_timesteps"],
            ).cpu()
            for start in range(0, len(images), batch_size)
        ]
        return tempered(torch.cat(batches).double().numpy(), self.temperature)


@torch.inference_mode()
def probabilities(
    head: nn.Module, uvit: FrozenUViT | None, images: Tensor, diffusion_images: Tensor, timesteps: Sequence[int]
) -> Tensor:
    """(B, classes) probabilities of uint8 images, averaged over fixed noise levels of the clean image."""
    if uvit is None:
        return head(images, ()).float().softmax(dim=1)
    clean = to_model_range(diffusion_images)
    levels = [torch.full((len(clean),), t, device=clean.device) for t in timesteps]
    return torch.stack([head(images, uvit.features(clean, t)).float().softmax(dim=1) for t in levels]).mean(dim=0)


def build_head(
    kind: str, classifier: Classifier, baseline: Baseline, classes: int, uvit: FrozenUViT | None, load_pretrained: bool
) -> nn.Module:
    """The trainable part of a kind, with pretrained weights where its parameters ask for them.

    Args:
        load_pretrained: False when all weights are about to be overwritten.
    """
    if kind not in (*ON_DIFFUSION_FEATURES, SUB_FEATURES):
        weights: WeightsSource = "download" if baseline.pretrained and load_pretrained else "none"
        return TimmClassifier(create_pretrained(kind, weights, num_classes=classes))
    sub_network, sub_channels = _sub_network(classifier.sub_features, load_pretrained)
    if uvit is None:
        return SubFeatureClassifier(sub_network, sub_channels, classes, classifier.dropout)
    return DCubeHead(
        sub_network,
        sub_channels,
        diffusion_channels=len(uvit.blocks) * uvit.model.width,
        grid=uvit.model.grid,
        classes=classes,
        fused_channels=classifier.fused_channels,
        dropout=classifier.dropout,
    )


def save_candidate(folder: Path, head: dict[str, Tensor], uvit: FrozenUViT | None, config: dict) -> str:
    """Write a candidate that needs nothing but this folder; returns the sha256 of its weights."""
    tensors = with_prefix("head", head)
    if uvit is not None:
        tensors |= with_prefix("uvit", uvit.model.state_dict())
        config = {**config, "blocks": list(uvit.blocks)}
    return save_weights(folder, tensors, config)


def load_candidate(folder: Path, device: torch.device) -> Candidate:
    """Raises: DcubeError: it is damaged, or an older version of this program made it."""
    tensors, config = load_weights(folder)
    if not {"input", "calibration"} <= config.keys():
        raise DcubeError(f"{folder} was trained before models said what they were made for: train it again")
    classes, made_for = len(config["classes"]), config["input"]
    uvit = None
    if "blocks" in config:
        diffusion = Diffusion.model_validate(config["params"]["diffusion"])
        model = build_uvit(diffusion, made_for["diffusion_image_size"], made_for["channels"], classes)
        load_into(model, under_prefix("uvit", tensors), folder)
        uvit = FrozenUViT(_frozen(model, device), NoiseSchedule(diffusion), tuple(config["blocks"]))
    head = build_head(
        config["kind"],
        Classifier.model_validate(config["params"]["classifier"]),
        Baseline.model_validate(config["params"]["baseline"]),
        classes,
        uvit,
        load_pretrained=False,
    )
    load_into(head, under_prefix("head", tensors), folder)
    return Candidate(config, head.to(device).eval(), uvit)


def _frozen(model: UViT, device: torch.device) -> UViT:
    return model.to(device).eval().requires_grad_(False)


def untrained(uvit: FrozenUViT, diffusion: Diffusion, seed: int) -> FrozenUViT:
    """The control: the same network and blocks with the first weights of another seed."""
    size = uvit.model.grid * diffusion.patch_size
    channels = uvit.model.final_convolution.in_channels
    model = build_uvit(diffusion.model_copy(update={"seed": seed}), size, channels, uvit.model.classes)
    return FrozenUViT(_frozen(model, next(uvit.model.parameters()).device), uvit.schedule, uvit.blocks)


def _sub_network(sub_features: SubFeatures, load_pretrained: bool) -> tuple[nn.Module, int]:
    network = create_pretrained(
        sub_features.architecture,
        sub_features.weights if load_pretrained else "none",
        sub_features.weights_file,
        sub_features.weights_sha256,
        features_only=True,
        out_indices=(sub_features.stage,),
    )
    return network, cast(FeatureInfo, network.feature_info).channels()[0]
