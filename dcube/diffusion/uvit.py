"""The U-ViT: a vision transformer with long skip connections that predicts noise.

Bao et al., "All are Worth Words: a ViT Backbone for Diffusion Models", CVPR 2023; sizes as in the D-Cube paper.
"""

from collections.abc import Sequence

import torch
from diffusers.models.embeddings import get_timestep_embedding
from timm.layers import Attention as FusedAttention
from timm.layers import Mlp, build_sincos2d_pos_embed
from torch import Tensor, nn

from dcube.data.prepared import UNLABELLED


class Attention(FusedAttention):
    """timm's attention, which uses the faster of its two implementations.

    Measured on a CPU: in bfloat16, two matrix products with a float32 softmax between them make a whole step 1.2 to
    1.9 × faster than the fused kernel; in float32, the fused kernel is faster.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        self.fused_attn = not (tokens.device.type == "cpu" and torch.is_autocast_enabled("cpu"))
        return super().forward(tokens)


class Block(nn.Module):
    """Pre-norm transformer block. Blocks of the outgoing half first merge the skip from their incoming counterpart."""

    def __init__(self, width: int, heads: int, merges_skip: bool) -> None:
        super().__init__()
        self.merge = nn.Linear(2 * width, width) if merges_skip else None
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden_features=4 * width)

    def forward(self, tokens: Tensor, skip: Tensor | None = None) -> Tensor:
        if self.merge is not None and skip is not None:
            tokens = self.merge(torch.cat((tokens, skip), dim=-1))  # (B, 1 + h·w, width)
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class UViT(nn.Module):
    """ε_θ(x_t, t, y) of Eq. (2), or its label-free form ε_θ(x_t, t).

    Blocks are numbered 0 … depth: the incoming half, the middle one, the outgoing half. Tokens are the time token
    followed by the patches, row by row; the label embedding is added to every token.

    Args:
        image_size: side in pixels, a multiple of `patch_size`.
        channels: channels of the image.
        classes: number of labels; an additional embedding represents "no label".
        patch_size: side of a patch in pixels.
        width, depth, heads: size of the transformer; `depth` is even and does not count the middle block.
    """

    def __init__(
        self, image_size: int, channels: int, classes: int, patch_size: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.grid, self.width, self.classes = image_size // patch_size, width, classes
        self.patch_embedding = nn.Conv2d(channels, width, kernel_size=patch_size, stride=patch_size)
        self.label_embedding = nn.Embedding(classes + 1, width)
        self.position_embedding = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        half = depth // 2
        self.blocks = nn.ModuleList(Block(width, heads, merges_skip=i > half) for i in range(depth + 1))
        self.norm = nn.LayerNorm(width)
        self.to_pixels = nn.Linear(width, patch_size**2 * channels)
        self.unpatchify = nn.PixelShuffle(patch_size)
        self.final_convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.initialize_weights()

    @property
    def middle(self) -> int:
        """Number of the middle block, f_m of Eq. (4)."""
        return len(self.blocks) // 2

    def initialize_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                _zero_bias(module)
        # The patch embedding is a linear layer over the patch, so it is initialised like one.
        nn.init.xavier_uniform_(self.patch_embedding.weight.view(self.width, -1))
        _zero_bias(self.patch_embedding)
        # Sine positions save the epochs that learning the geometry would take; they are trainable.
        positions = build_sincos2d_pos_embed([self.grid, self.grid], self.width, interleave_sin_cos=False)
        self.position_embedding.data[0, 1:] = positions
        # Small label embeddings, so that the label-free path is learnt from the start too.
        nn.init.normal_(self.label_embedding.weight, std=0.02)
        # Identity: at the start the convolution does not change the output of the patches.
        nn.init.dirac_(self.final_convolution.weight)
        _zero_bias(self.final_convolution)

    def embed_labels(self, labels: Tensor) -> Tensor:
        """Return the embeddings (B, width) of class indices (B,), where `UNLABELLED` means no label."""
        return self.label_embedding(torch.where(labels == UNLABELLED, self.classes, labels))

    def embed_probabilities(self, probabilities: Tensor) -> Tensor:
        """Embed probabilities (B, classes) as their expectation (B, width): differentiable, unlike argmax (Eq. 7)."""
        return probabilities @ self.label_embedding.weight[: self.classes]

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None, middle_features: bool = False):
        """Predict noise or velocity (B, channels, S, S) for noisy images.

        Args:
            x: (B, channels, S, S), clean pixels in [-1, 1] plus noise.
            t: (B,) integer timesteps.
            condition: (B, width) label embedding; None means no label.
            middle_features: whether to return the middle block's patch tokens (B, h·w, width) too.
        """
        # fmt: off
        tokens = self._embed(x, t, condition)                    # (B, 1 + h·w, width)
        skips: list[Tensor] = []
        middle = tokens
        for index, block in enumerate(self.blocks):
            tokens = self._through(block, index, tokens, skips)  # (B, 1 + h·w, width)
            if index == self.middle:
                middle = tokens[:, 1:]                           # (B, h·w, width)
        pixels = self.to_pixels(self.norm(tokens[:, 1:]))        # (B, h·w, p·p·channels)
        image = self.unpatchify(self._to_grid(pixels))           # (B, channels, S, S)
        output = self.final_convolution(image)                   # (B, channels, S, S)
        # fmt: on
        return (output, middle) if middle_features else output

    def forward_intermediates(
        self, x: Tensor, t: Tensor, condition: Tensor | None = None, *, indices: Sequence[int]
    ) -> list[Tensor]:
        """Return the outputs of the blocks `indices` on the patch grid, (B, width, h, w) each.

        Blocks after the deepest of them are not computed.
        """
        tokens = self._embed(x, t, condition)
        skips: list[Tensor] = []
        outputs: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[: max(indices) + 1]):
            tokens = self._through(block, index, tokens, skips)
            if index in indices:
                outputs[index] = self._to_grid(tokens[:, 1:])
        return [outputs[index] for index in indices]

    def _embed(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        # fmt: off
        patches = self.patch_embedding(x).flatten(2).transpose(1, 2)     # (B, h·w, width)
        time = get_timestep_embedding(t, self.width, flip_sin_to_cos=True, downscale_freq_shift=0)
        tokens = torch.cat((time.to(patches)[:, None], patches), dim=1)  # (B, 1 + h·w, width)
        # fmt: on
        if condition is None:
            condition = self.label_embedding.weight[self.classes].expand(len(x), -1)
        return tokens + self.position_embedding + condition[:, None]

    def _through(self, block: nn.Module, index: int, tokens: Tensor, skips: list[Tensor]) -> Tensor:
        tokens = block(tokens, skips.pop()) if index > self.middle else block(tokens)
        if index < self.middle:
            skips.append(tokens)
        return tokens

    def _to_grid(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid))


def _zero_bias(layer: nn.Linear | nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
