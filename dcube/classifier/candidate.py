"""Candidates: all classifiers of this project are built, saved, loaded and evaluated in the same way.

Kinds: `dcube` (head on the trained U-ViT), `untrained_uvit` (the same head on random U-ViT weights), `sub_features`
(the sub-feature network alone), or the name of a baseline method. An ensemble is a candidate too, of its members' kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.weights import load_into, load_weights, save_weights, under_prefix, with_prefix
from dcube.classifier.calibration import with_temperature
from dcube.classifier.head import DCubeHead, SubFeatureClassifier
from dcube.classifier.method import method, probed_network
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.timm_networks import timm_network, timm_probe
from dcube.config.schema import Classifier, Pretrained
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.ranges import to_model_range
from dcube.diffusion.weights import build_uvit
from dcube.engine.pretrained import NO_WEIGHTS
from dcube.features.frozen_uvit import FrozenUViT, freeze
from dcube.features.sub_features import build_sub_network


@dataclass(frozen=True)
class Candidate:
    """A trained classifier.

    Attributes:
        config: contents of `config.json`.
        head: the trained part, in eval mode.
        uvit: the frozen part; None for kinds without diffusion features.
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

    def predict(self, images: np.ndarray, diffusion_images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Return calibrated probabilities (n, classes), float64, averaged over the evaluation timesteps.

        Args:
            images: (n, C, S, S) uint8 at `image_size`.
            diffusion_images: (n, C, s, s) uint8 at `diffusion_image_size`.
        """
        found = self._by_timestep(images, diffusion_images, self.config.evaluation_timesteps, batch_size)
        return with_temperature(found.mean(axis=0), self.temperature)

    def predict_by_timestep(
        self, images: np.ndarray, diffusion_images: np.ndarray, timesteps: Sequence[int], batch_size: int = 64
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities of `predict`, and calibrated ones (T, n, classes) at each of `timesteps`.

        One call for both computes the features that do not depend on the timestep only once.
        """
        own = self.config.evaluation_timesteps
        found = self._by_timestep(images, diffusion_images, [*own, *timesteps], batch_size)
        each = np.stack([with_temperature(at_one, self.temperature) for at_one in found[len(own) :]])
        return with_temperature(found[: len(own)].mean(axis=0), self.temperature), each

    def _by_timestep(
        self, images: np.ndarray, diffusion_images: np.ndarray, timesteps: Sequence[int], batch_size: int
    ) -> np.ndarray:
        """Return uncalibrated probabilities (T, n, classes), float64."""
        device = next(self.head.parameters()).device
        batches = []
        for start in range(0, len(images), batch_size):
            large, small = (
                torch.from_numpy(np.ascontiguousarray(part[start : start + batch_size])).to(device)
                for part in (images, diffusion_images)
            )
            batches.append(self.probabilities_by_timestep(large, small, timesteps).cpu())
        return torch.cat(batches, dim=1).double().numpy()

    def probabilities_by_timestep(self, images: Tensor, diffusion_images: Tensor, timesteps: Sequence[int]) -> Tensor:
        """Return uncalibrated probabilities (T, B, classes); with `flips`, means over image and mirror image."""
        found = probabilities_by_timestep(self.head, self.uvit, images, diffusion_images, timesteps)
        if not self.config.flips:
            return found
        mirrored = images.flip(-1), diffusion_images.flip(-1)
        return (found + probabilities_by_timestep(self.head, self.uvit, *mirrored, timesteps)) / 2


@dataclass(frozen=True)
class Ensemble(Candidate):
    """The mean of the calibrated probabilities of several candidates.

    Attributes:
        head: the heads of all members.
        uvit: the frozen part of the first member.
        members: at least two candidates of one kind.
    """

    members: tuple[Candidate, ...]

    def predict(self, images: np.ndarray, diffusion_images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        return np.mean([one.predict(images, diffusion_images, batch_size) for one in self.members], axis=0)

    def predict_by_timestep(
        self, images: np.ndarray, diffusion_images: np.ndarray, timesteps: Sequence[int], batch_size: int = 64
    ) -> tuple[np.ndarray, np.ndarray]:
        found = (one.predict_by_timestep(images, diffusion_images, timesteps, batch_size) for one in self.members)
        means, each = zip(*found, strict=True)
        return np.mean(means, axis=0), np.mean(each, axis=0)

    def probabilities_by_timestep(self, images: Tensor, diffusion_images: Tensor, timesteps: Sequence[int]) -> Tensor:
        found = [one.probabilities_by_timestep(images, diffusion_images, timesteps) for one in self.members]
        return torch.stack(found).mean(dim=0)


def probabilities(
    head: nn.Module, uvit: FrozenUViT | None, images: Tensor, diffusion_images: Tensor, timesteps: Sequence[int]
) -> Tensor:
    """Return probabilities (B, classes) of uint8 images, averaged over `timesteps`."""
    return probabilities_by_timestep(head, uvit, images, diffusion_images, timesteps).mean(dim=0)


@torch.inference_mode()
def probabilities_by_timestep(
    head: nn.Module, uvit: FrozenUViT | None, images: Tensor, diffusion_images: Tensor, timesteps: Sequence[int]
) -> Tensor:
    """Return probabilities (T, B, classes) of uint8 images. Without a diffusion model, T is 1."""
    if uvit is None:
        return head(images, ()).float().softmax(dim=1)[None]
    clean = to_model_range(diffusion_images)
    per_image = [torch.full((len(clean),), t, device=clean.device) for t in timesteps]
    assert isinstance(head, DCubeHead)
    logits = head.at_timesteps(images, [uvit.features(uvit.input_at(clean, t), t) for t in per_image])
    return torch.stack(logits).float().softmax(dim=-1)


def build_head(
    kind: str, settings: Classifier | Pretrained, task: Task, uvit: FrozenUViT | None, load_pretrained: bool
) -> nn.Module:
    """Build the trained part of a candidate, with the pretrained weights that its parameters name.

    Args:
        settings: parameters of D-Cube or a control, or the pretrained weights of a baseline method.
        load_pretrained: False if all weights will be overwritten.
    """
    if isinstance(settings, Pretrained):
        return build_method(kind, task, settings if load_pretrained else NO_WEIGHTS)
    sub_network, sub_channels = None, 0
    if uvit is None or settings.use_sub_features:
        sub_network, sub_channels = build_sub_network(settings.sub_features, task.image_size, load_pretrained)
    if uvit is None:
        assert sub_network is not None
        return SubFeatureClassifier(sub_network, sub_channels, task.classes, settings.dropout)
    return DCubeHead(
        sub_network,
        sub_channels,
        diffusion_channels=len(uvit.blocks) * uvit.model.width,
        grid=uvit.model.grid,
        classes=task.classes,
        fused_channels=settings.fused_channels,
        dropout=settings.dropout,
    )


def build_method(name: str, task: Task, pretrained: Pretrained) -> nn.Module:
    """Build the network of a baseline method: a registered method, `NETWORK_probe`, or a timm network.

    Raises:
        DcubeError: if there is no such network, or its weights cannot be loaded.
    """
    if build := method(name).build:
        return build(task, pretrained)
    if network := probed_network(name):
        return timm_probe(network, task, pretrained)
    return timm_network(name, task, pretrained)


def save_candidate(folder: Path, head: dict[str, Tensor], uvit: FrozenUViT | None, config: CandidateConfig) -> str:
    """Write a candidate, with the frozen U-ViT if it has one, and return the sha256 of the weights."""
    tensors = with_prefix("head", head)
    if uvit is not None:
        tensors |= with_prefix("uvit", uvit.model.state_dict())
        config = config.model_copy(update={"blocks": list(uvit.blocks), "noised": uvit.noised})
    return save_weights(folder, tensors, config)


def load_candidate(folder: Path, device: torch.device) -> Candidate:
    """Load a candidate. Raises `DcubeError` if it is damaged or does not fit this version of the program."""
    tensors, config = load_weights(folder, CandidateConfig)
    return _built(config, tensors, folder, device)


def save_ensemble(folder: Path, members: Sequence[Path], config: CandidateConfig) -> str:
    """Write the weights of the candidates in the folders `members` as one, and return their sha256.

    Args:
        config: configuration of the ensemble, without its members.

    Raises:
        DcubeError: if a member is damaged.
    """
    loaded = [load_weights(member, CandidateConfig) for member in members]
    tensors: dict[str, Tensor] = {}
    for number, (own, _) in enumerate(loaded):
        tensors |= with_prefix(_prefix(number), own)
    return save_weights(folder, tensors, config.model_copy(update={"members": [own for _, own in loaded]}))


def _prefix(number: int) -> str:
    return f"members.{number}"


def _built(config: CandidateConfig, tensors: dict[str, Tensor], folder: Path, device: torch.device) -> Candidate:
    if config.members:
        members = tuple(
            _built(one, under_prefix(_prefix(number), tensors), folder, device)
            for number, one in enumerate(config.members)
        )
        return Ensemble(config, nn.ModuleList(one.head for one in members), members[0].uvit, members)
    params = config.params
    task = Task(len(config.classes), config.input.image_size, config.input.channels)
    uvit = None
    if config.blocks is not None and params.diffusion is not None:
        model = build_uvit(params.diffusion, config.input.diffusion_image_size, task.channels, task.classes)
        load_into(model, under_prefix("uvit", tensors), folder)
        schedule = NoiseSchedule(params.diffusion)
        uvit = FrozenUViT(freeze(model, device), schedule, tuple(config.blocks), config.noised)
    head = build_head(config.kind, params.classifier or NO_WEIGHTS, task, uvit, load_pretrained=False)
    load_into(head, under_prefix("head", tensors), folder)
    return Candidate(config, head.to(device).eval(), uvit)
