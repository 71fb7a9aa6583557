"""DiffMIC: labels are diffused towards the prediction of guiding encoders, and denoised (Yang et al., MICCAI 2023).

Where the publication and its code differ, this follows the code, which produced the numbers in other papers: ResNet-50
guides, ResNet-18 encodes the image for the denoiser. (The dense guidance map belongs to DiffMIC-v2, a later paper.)

Differences from that code:
- The guidance is trained together with the denoiser at the same learning rate, not for 15 epochs before it at 2e-4.
- The guidance loss and the denoiser share one forward pass of the guiding encoders, in train mode of batch norm.
- Timesteps are drawn independently, not in pairs t and T - t.
- Labels are sampled in a few deterministic steps over all of T, clipped to their possible range, and averaged over a
  few noises, which are the same for all images.
- Regions have 32 pixels, one cell of the saliency map, at any image size, and keep all channels.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcube.classifier.method import register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.diffmic_guidance import DualGuidance
from dcube.classifier.networks.timm_networks import timm_features
from dcube.config.schema import Pretrained
from dcube.engine.distributed import all_gather
from dcube.engine.image_network import ImageNetwork
from dcube.engine.pretrained import create_pretrained
from dcube.engine.rng import Rng, torch_generator

GUIDING_ARCHITECTURE = "resnet50"
ENCODER_ARCHITECTURE = "resnet18"
WIDTH = 6144
TIMESTEPS = 1000
SAMPLING_STEPS = 20
NOISES = 4
MMD_WEIGHT = 0.5


class LabelDiffusion:
    """y_t = √ᾱ_t y_0 + (1 - √ᾱ_t) m + √(1 - ᾱ_t) ε for a prior mean m, linear β from 1e-4 to 0.02.

    Without m, y_t - m = √ᾱ_t (y_0 - m) + √(1 - ᾱ_t) ε is the usual forward process of y_0 - m with the same noise, so
    that any sampler for it also samples y_0. Here this is DDIM (Song et al. 2021, Eq. (12) with σ = 0).
    """

    def __init__(self) -> None:
        from diffusers import DDIMScheduler  # slow to import

        self._scheduler = DDIMScheduler(
            TIMESTEPS,
            beta_start=1e-4,
            beta_end=0.02,
            beta_schedule="linear",
            clip_sample=True,  # applies to y_0 - m, which is between -1 and 1
            timestep_spacing="trailing",  # the first timestep is T - 1
        )
        self._scheduler.set_timesteps(SAMPLING_STEPS)

    def noised(self, labels: Tensor, prior: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return y_t for labels (B, classes) at timesteps t (B,), from 0 to T - 1."""
        return prior + self._scheduler.add_noise(labels - prior, noise, t)

    def sampled(self, denoise: Callable[[Tensor, Tensor], Tensor], prior: Tensor, noisy: Tensor) -> Tensor:
        """Sample y_0 (B, classes) from y_T; `denoise` predicts the noise from (y_t, t)."""
        for t in self._scheduler.timesteps:
            noise = denoise(noisy, t.to(noisy.device))
            step = self._scheduler.step(noise, t, noisy - prior, use_clipped_model_output=True)
            noisy = prior + step.prev_sample
        return noisy


class TimedLayer(nn.Module):
    """A linear layer whose outputs are weighted by timestep, followed by batch norm and softplus."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size_in, size_out)
        self.weight_at = nn.Embedding(TIMESTEPS, size_out)
        nn.init.uniform_(self.weight_at.weight)
        self.norm = nn.BatchNorm1d(size_out)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return F.softplus(self.norm(self.weight_at(t) * self.linear(x)))


class Denoiser(nn.Module):
    """Predictor of the noise in a noisy label, given its prior mean and an encoding of the image."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.image_norm = nn.BatchNorm1d(width)
        self.enter = TimedLayer(2 * classes, width)
        self.first, self.second = TimedLayer(width, width), TimedLayer(width, width)
        self.noise = nn.Linear(width, classes)

    def forward(self, described: Tensor, noisy: Tensor, prior: Tensor, t: Tensor) -> Tensor:
        """Return the noise (B, classes) from described (B, width), noisy and prior (B, classes), and t (B,)."""
        # fmt: off
        hidden = self.enter(torch.cat((noisy, prior), dim=1), t)   # (B, width)
        hidden = self.image_norm(described) * hidden   # (B, width)
        hidden = self.second(self.first(hidden, t), t)             # (B, width)
        # fmt: on
        return self.noise(hidden)


class DiffMIC(nn.Module):
    """The classifier: guidance, image encoder and denoiser.

    Args:
        guidance: predicts the prior means.
        network: timm network from images to (B, width).
        classes: number of logits.
        width: hidden width of the denoiser.
    """

    first_noises: Tensor

    def __init__(self, guidance: DualGuidance, network: nn.Module, classes: int, width: int) -> None:
        super().__init__()
        self.guidance, self.encoder = guidance, ImageNetwork(network)
        self.denoiser, self.diffusion = Denoiser(classes, width), LabelDiffusion()
        self.register_buffer("first_noises", first_noises(classes), persistent=False)

    def forward(self, images: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        """Return the denoised labels as logits (B, classes), for images (B, C, S, S) uint8."""
        # fmt: off
        prior = fuse(*self.guidance(images)).softmax(dim=1)                            # (B, classes)
        described, samples = self.encoder(images), len(self.first_noises)               # (B, width)
        start = (self.first_noises[:, None] + prior).flatten(0, 1)                      # (2N·B, classes)
        described, prior = described.repeat(samples, 1), prior.repeat(samples, 1)       # (2N·B, …)
        # fmt: on

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            return self.denoiser(described, noisy, prior, t.expand(len(noisy))).float()

        return self.diffusion.sampled(denoise, prior, start).unflatten(0, (samples, -1)).mean(dim=0)

    def losses(self, images: Tensor, labels: Tensor, rng: Rng) -> dict[str, Tensor]:
        """Return the guidance loss plus L_ε + λ (L_MMD of global + of local prior), all with the same noise (§2.2)."""
        from_whole, from_parts = (logits.float() for logits in self.guidance(images))
        classes = from_whole.shape[1]
        noise, t = rng.normal(classes), rng.integers(0, TIMESTEPS)
        target, described = F.one_hot(labels, classes).float(), self.encoder(images)

        def predicted(logits: Tensor) -> Tensor:
            prior = logits.detach().softmax(dim=1)  # the diffusion loss does not train the guidance
            return self.denoiser(described, self.diffusion.noised(target, prior, noise, t), prior, t).float()

        values = {
            "guidance_loss": F.cross_entropy(fuse(from_whole, from_parts), labels),
            "noise_loss": F.mse_loss(predicted(fuse(from_whole, from_parts)), noise),
            "global_mmd": mmd(all_gather(predicted(from_whole)), all_gather(noise)),
            "local_mmd": mmd(all_gather(predicted(from_parts)), all_gather(noise)),
        }
        diffusion = values["noise_loss"] + MMD_WEIGHT * (values["global_mmd"] + values["local_mmd"])
        return {"loss": values["guidance_loss"] + diffusion, **values}


def first_noises(classes: int) -> Tensor:
    """Return fixed normal values (2N, classes). Each has its negative, so that the noise favours no class."""
    noises = torch.randn(NOISES, classes, generator=torch_generator("cpu", 0, "first noises of a label"), device="cpu")
    return torch.cat((noises, -noises))


def fuse(from_whole: Tensor, from_parts: Tensor) -> Tensor:
    """Return the mean of both logits."""
    return (from_whole.float() + from_parts.float()) / 2


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of samples (n, d) and (m, d), with kernel exp(-‖x - y‖² / d²)."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distances = (a[:, None] - b[None]).square().sum(dim=2)
        return torch.exp(-distances / a.shape[1] ** 2).mean()

    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


@register_method(
    title="DiffMIC",
    family="Diffusion",
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=0.0,
    epochs=1000,
    settings_from="the authors' code, with Adam",
    reference="Yang et al., DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification, MICCAI 2023",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    """Build DiffMIC. Only the guiding encoders start from pretrained weights, the denoiser's encoder does not."""
    whole, parts = (timm_features(GUIDING_ARCHITECTURE, pretrained, stages=(4,)) for _ in range(2))
    channels = whole.feature_info.channels()[0]  # type: ignore[union-attr, operator]
    described = create_pretrained(ENCODER_ARCHITECTURE, num_classes=WIDTH)
    return DiffMIC(DualGuidance(whole, parts, channels, task.classes), described, task.classes, WIDTH)
