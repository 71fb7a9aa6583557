"""Networks whose features are used to compare images. Distances from different networks are not comparable."""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.transforms import Normalize

from dcube.config.schema import Fid
from dcube.engine.pretrained import PACKAGED, PACKAGED_ARCHITECTURE, PACKAGED_SHA256, create_pretrained, verify_sha256
from dcube.engine.progress import progress
from dcube.errors import DcubeError

BATCH = 128
INCEPTION_ADDRESS = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that turns images into feature vectors.

    Attributes:
        name: exact description of network and weights, reported with every distance.
        weights_sha256: hash of the weights file.
        resize: side in pixels to which images are resized for the network.
        network: maps (B, 3, resize, resize) uint8 to (B, d), in eval mode.
        device: the device of the network.
    """

    name: str
    weights_sha256: str
    resize: int
    network: Callable[[Tensor], Tensor]
    device: torch.device

    @torch.inference_mode()
    def __call__(self, images: np.ndarray | Tensor) -> np.ndarray:
        """Return features (n, d) float32 of images (n, C, S, S) uint8 with C 1 or 3; memory maps are read in parts."""
        features = []
        with progress(
            f"Features of the images by {self.name.partition(',')[0]}", total=len(images), unit="images"
        ) as advance:
            for start in range(0, len(images), BATCH):
                batch = torch.as_tensor(np.array(images[start : start + BATCH])).to(self.device)
                features.append(self.network(as_rgb(batch, self.resize)).float().cpu().numpy())
                advance(len(batch))
        return np.concatenate(features)


def load_extractor(fid: Fid, device: torch.device) -> FeatureExtractor:
    """Load the network named by `fid.extractor`.

    Raises:
        DcubeError: if the weights file is not given, missing, altered or of another network.
    """
    if fid.extractor == "efficientnet_lite0":
        network: nn.Module = _Normalised(create_pretrained(PACKAGED_ARCHITECTURE, PACKAGED, num_classes=0))
        name, sha256 = "EfficientNet-Lite0 (ImageNet), pooled, 1280", PACKAGED_SHA256
    else:
        network, sha256 = _inception(fid), fid.weights_sha256 or ""
        name = "Inception v3 (TensorFlow, 2015-12-05), pooled, 2048"
    return FeatureExtractor(name, sha256, fid.resize, network.to(device).eval().requires_grad_(False), device)


def as_rgb(images: Tensor, size: int) -> Tensor:
    """Convert images (B, 1 or 3, S, S) uint8 to (B, 3, size, size), with antialiasing (Parmar et al., CVPR 2022)."""
    if images.shape[-1] != size:
        resized = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
        images = resized.round_().clamp_(0, 255).to(torch.uint8)
    return images.expand(-1, 3, -1, -1)


class _Normalised(nn.Module):
    """A timm network with uint8 input. The normalisation is from timm's config ([-1, 1] for Lite networks)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        config = cast(dict, network.pretrained_cfg)
        self.normalise = Normalize(config["mean"], config["std"])

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.normalise(images.float() / 255))


class _Inception(nn.Module):
    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        # torch-fidelity unpickles the file that it is given, so it gets a copy of the safely loaded tensors.
        copy = io.BytesIO()
        torch.save(state, copy)
        copy.seek(0)
        self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=copy)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[0]


def _inception(fid: Fid) -> nn.Module:
    if not (fid.weights_file and fid.weights_sha256):
        raise DcubeError(
            f"fid.extractor inception needs fid.weights_file and fid.weights_sha256: fetch {INCEPTION_ADDRESS} "
            "once and name it there, or set fid.extractor to efficientnet_lite0"
        )
    path = verify_sha256(Path(fid.weights_file), fid.weights_sha256)
    try:
        if path.suffix == ".safetensors":
            return _Inception(load_file(path))
        return _Inception(torch.load(path, map_location="cpu", weights_only=True))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, AttributeError, IndexError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DcubeError(
            f"fid.weights_file {path} contains no Inception weights ({reason}): fetch {INCEPTION_ADDRESS}"
        ) from None
