"""One training step of stage 1: both images of a pair in one bfloat16 pass, against two float32 passes."""

import torch
import torch.nn.functional as F

from benchmarks.measure import Result, Setting, interleaved, speed
from benchmarks.networks import BFLOAT16, CLASSES, CPU, FLOAT32, diffusion_of, name_of, uvit_of
from dcube.config.schema import Compute, Diffusion
from dcube.data.prepared import UNLABELLED
from dcube.diffusion.losses import contrastive_loss, squared_distance_pooled
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.ranges import to_model_range
from dcube.diffusion.training import PairBatch, pair_losses
from dcube.diffusion.uvit import UViT
from dcube.engine.device import autocast


def benchmark(setting: Setting) -> list[Result]:
    results = []
    for size in setting.sizes:
        pairs = 4 if size >= 128 else 64
        batch, diffusion = _batch(size, pairs), diffusion_of(size)
        plain = _Plain(uvit_of(size), diffusion)
        ours = _Ours(uvit_of(size), diffusion, BFLOAT16)
        in_float32 = _Ours(uvit_of(size), diffusion, FLOAT32)
        for lever, slow, fast, target in (
            ("stage-1 step, bf16", plain, ours, 1.4),
            ("stage-1 step, bf16 against float32 of the same step", in_float32, ours, None),
        ):
            timing = interleaved(
                lambda step=slow, batch=batch: step(batch), lambda step=fast, batch=batch: step(batch), setting.repeats
            )
            results.append(speed(lever, name_of(size), "pairs", (pairs, pairs), timing, target))
    return results


def _batch(size: int, pairs: int) -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(256, (2, pairs, 1, size, size), generator=generator).to(torch.uint8)
    labels = torch.randint(CLASSES, (2, pairs), generator=generator)
    labelled = torch.ones(pairs, dtype=torch.bool)
    return PairBatch(first, second, labels[0], labels[1], labels[0] != labels[1], labelled)


class _Plain:
    """The two images of a pair one after the other, in float32, and AdamW as it comes."""

    def __init__(self, model: UViT, diffusion: Diffusion) -> None:
        self.model, self.diffusion, self.schedule = model, diffusion, NoiseSchedule(diffusion)
        self.optimizer = torch.optim.AdamW(model.parameters(), diffusion.learning_rate)

    def __call__(self, batch: PairBatch) -> None:
        n = len(batch.first)
        t = torch.randint(self.schedule.timesteps, (n,))
        dropped = torch.rand(n) < self.diffusion.label_dropout
        noise = torch.randn(batch.first.shape)
        loss, middles = torch.zeros(()), []
        for images, labels in ((batch.first, batch.first_labels), (batch.second, batch.second_labels)):
            noisy = self.schedule.add_noise(to_model_range(images), noise, t)
            condition = self.model.embed_labels(labels.masked_fill(dropped, UNLABELLED))
            output, middle = self.model(noisy, t, condition, middle_features=True)
            loss = loss + F.mse_loss(output, noise)
            middles.append(middle)
        distance = squared_distance_pooled(*middles)
        loss = loss + contrastive_loss(distance, batch.different, self.diffusion.margin, dropped)
        _optimise(self.model, self.optimizer, loss, self.diffusion.gradient_clip)


class _Ours:
    """The training's own losses, optimised as its trainer does."""

    def __init__(self, model: UViT, diffusion: Diffusion, compute: Compute) -> None:
        self.model, self.diffusion, self.compute = model, diffusion, compute
        self.schedule = NoiseSchedule(diffusion)
        self.optimizer = torch.optim.AdamW(model.parameters(), diffusion.learning_rate, fused=True)

    def __call__(self, batch: PairBatch) -> None:
        with autocast(CPU, self.compute):
            values = pair_losses(self.model, self.model, self.schedule, self.diffusion, batch, step=0)
        _optimise(self.model, self.optimizer, values["loss"], self.diffusion.gradient_clip)


def _optimise(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor, clip: float) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
