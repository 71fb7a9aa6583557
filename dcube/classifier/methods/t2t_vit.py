"""T2T-ViT-14 (Yuan et al., Tokens-to-Token ViT, ICCV 2021), whose tokens are made by Performers.

Overlapping patches are unfolded into tokens three times. In between, attention in linear time (Choromanski et al.,
Rethinking Attention with Performers, ICLR 2021) mixes the tokens, which are then arranged as an image again. A deep and
narrow ViT follows. Parameters have the names and shapes of the authors' published weights, so that these can be loaded.
"""

import math

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dcube.classifier.method import register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.image_classifier import ImageClassifier
from dcube.classifier.networks.loading import IMAGENET, load_published, only_pickled
from dcube.config.schema import Pretrained

TOKEN_WIDTH = 64
WIDTH, DEPTH, HEADS, MLP_RATIO = 384, 14, 6, 3
SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))  # kernel, stride and padding of each unfolding, 16 times smaller in total
PUBLISHED = "github.com/yitu-opensource/T2T-ViT"


class TokenPerformer(nn.Module):
    """Attention with the softmax kernel estimated by positive random features: (B, N, in) to (B, N, 64)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(TOKEN_WIDTH)
        self.kqv = nn.Linear(channels, 3 * TOKEN_WIDTH)
        self.proj = nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH)
        self.mlp = nn.Sequential(nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH), nn.GELU(), nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH))
        count = TOKEN_WIDTH // 2
        directions = nn.init.orthogonal_(torch.empty(count, TOKEN_WIDTH)) * math.sqrt(count)
        self.w = nn.Parameter(directions, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        keys, queries, values = self.kqv(self.norm1(x)).chunk(3, dim=-1)  # (B, N, 64) each
        out = values + self.proj(self._attention(keys.float(), queries.float(), values.float()))
        return out + self.mlp(self.norm2(out))

    def _attention(self, keys: Tensor, queries: Tensor, values: Tensor) -> Tensor:
        """Return (B, N, 64) for three tensors of this shape, computed in float32 because exponentials are divided."""
        with torch.autocast(keys.device.type, enabled=False):
            # fmt: off
            keys, queries = self._features(keys), self._features(queries)  # (B, N, 32) each
            summary = keys.transpose(1, 2) @ values                        # (B, 32, 64)
            normaliser = queries @ keys.sum(dim=1)[:, :, None]             # (B, N, 1)
            # fmt: on
            return (queries @ summary) / (normaliser + 1e-8)

    def _features(self, x: Tensor) -> Tensor:
        """Return the random features φ(x) with E[φ(x)·φ(y)] = exp(x·y): (B, N, 64) to (B, N, 32)."""
        exponent = x @ self.w.T - x.square().sum(dim=-1, keepdim=True) / 2
        return exponent.exp() / math.sqrt(len(self.w))


class TokensToToken(nn.Module):
    """Tokens of normalised pixels: (B, 3, S, S) to (B, (S/16)², 384)."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = (kernel**2 for kernel, _, _ in SPLITS)
        self.attention1 = TokenPerformer(3 * first)
        self.attention2 = TokenPerformer(TOKEN_WIDTH * second)
        self.project = nn.Linear(TOKEN_WIDTH * third, WIDTH)

    def forward(self, pixels: Tensor) -> Tensor:
        # fmt: off
        image = _as_image(self.attention1(_unfolded(pixels, *SPLITS[0])))  # (B, 64, S/4, S/4)
        image = _as_image(self.attention2(_unfolded(image, *SPLITS[1])))   # (B, 64, S/8, S/8)
        # fmt: on
        return self.project(_unfolded(image, *SPLITS[2]))


class T2TViT(nn.Module):
    """The network: (B, 3, S, S) normalised pixels to (B, classes)."""

    pretrained_cfg = IMAGENET

    def __init__(self, classes: int, image_size: int) -> None:
        super().__init__()
        self.tokens_to_token = TokensToToken()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(_sinusoids(1 + (image_size // 16) ** 2), requires_grad=False)
        rates = torch.linspace(0, 0.1, DEPTH, device="cpu").tolist()  # stochastic depth, as published
        self.blocks = nn.Sequential(*(Block(WIDTH, HEADS, MLP_RATIO, drop_path=rate) for rate in rates))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)
        self.apply(_initialise)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        # fmt: off
        patches = self.tokens_to_token(pixels)                                   # (B, N, 384)
        class_token = self.cls_token.expand(len(pixels), -1, -1)                 # (B, 1, 384)
        tokens = torch.cat((class_token, patches), dim=1) + self.pos_embed       # (B, 1 + N, 384)
        # fmt: on
        return self.head(self.norm(self.blocks(tokens))[:, 0])


@register_method(
    title="T2T-ViT-14",
    family="Transformer",
    optimiser="adamw",
    learning_rate=6.25e-5,
    weight_decay=0.05,
    epochs=310,
    settings_from="Yuan et al., 1e-3 for 1024 images",
    reference="Yuan et al., Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet, ICCV 2021",
)
def build(task: Task, pretrained: Pretrained) -> ImageClassifier:
    """Build the classifier. Published position embeddings are resampled to `image_size`."""
    network = T2TViT(task.classes, task.image_size)
    fetch = only_pickled("T2T-ViT-14", PUBLISHED)
    load_published(network, "T2T-ViT-14", pretrained, fetch, fresh="head.", positions="pos_embed")
    return ImageClassifier(network)


def _unfolded(image: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Unfold patches: (B, C, H, W) to (B, H·W/stride², C·kernel²)."""
    return F.unfold(image, kernel, stride=stride, padding=padding).transpose(1, 2)


def _as_image(tokens: Tensor) -> Tensor:
    """Arrange tokens as an image: (B, N, C) to (B, C, √N, √N)."""
    return tokens.transpose(1, 2).unflatten(2, (math.isqrt(tokens.shape[1]), -1))


def _sinusoids(count: int) -> Tensor:
    """Return (1, count, 384): sines in even and cosines in odd channels, of position / 10000^(2i/384)."""
    position = torch.arange(count, dtype=torch.float64)[:, None]
    angle = position / 10000 ** (torch.arange(0, WIDTH, 2, dtype=torch.float64) / WIDTH)
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)[None].float()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
