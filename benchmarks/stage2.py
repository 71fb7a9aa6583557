"""One training step of stage 2 with the same networks, against the step as published."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.early_stop import SELECTED, whole_pass
from benchmarks.measure import Result, Setting, interleaved, speed
from benchmarks.networks import BFLOAT16, CLASSES, CPU, as_pair, name_of, uvit_of
from dcube.artifacts.candidates import DCUBE
from dcube.classifier.candidate import build_head
from dcube.classifier.losses import consistency_loss
from dcube.classifier.networks.contract import Task
from dcube.classifier.training import classifier_losses
from dcube.config.schema import Classifier, Diffusion, SubFeatures
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.ranges import to_model_range
from dcube.engine.device import autocast
from dcube.features.frozen_uvit import FrozenUViT

SMALL = SubFeatures(architecture="tf_efficientnet_lite0", stage=-2, weights="none")
PAPERS = SubFeatures(weights="none")


def benchmark(setting: Setting) -> list[Result]:
    results = []
    for size in setting.sizes:
        is_papers = size >= 128
        n, blocks = (4, SELECTED) if is_papers else (64, (2, 3))
        classifier = Classifier(sub_features=PAPERS if is_papers else SMALL)
        uvit = FrozenUViT(uvit_of(size).eval().requires_grad_(False), NoiseSchedule(Diffusion()), blocks)
        plain = _trained(plain_losses, classifier, uvit, torch.contiguous_format)
        ours = _trained(our_losses, classifier, uvit, torch.channels_last)
        batch = _batch(size, n)
        timing = interleaved(
            lambda step=plain, batch=batch: step(*batch), lambda step=ours, batch=batch: step(*batch), setting.repeats
        )
        results.append(speed("stage-2 step", name_of(size), "images", (n, n), timing, 1.9))
    return results


def _batch(size: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images at the CNN's size (twice the U-ViT's, as in the paper), at the U-ViT's, and labels."""
    large = torch.randint(256, (n, 1, 2 * size, 2 * size)).to(torch.uint8)
    return large, large[:, :, ::2, ::2].contiguous(), torch.arange(n) % CLASSES


def _trained(losses, classifier: Classifier, uvit: FrozenUViT, layout: torch.memory_format):
    head = build_head(DCUBE, classifier, Task(CLASSES, 32, 1), uvit, load_pretrained=False)
    head = head.to(CPU, memory_format=layout).train()
    optimizer = torch.optim.AdamW(head.parameters(), classifier.learning_rate, fused=losses is our_losses)

    def step(images: Tensor, diffusion_images: Tensor, labels: Tensor) -> None:
        loss = losses(head, uvit, images, diffusion_images, labels, classifier)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), classifier.gradient_clip)
        optimizer.step()

    return step


def our_losses(head, uvit: FrozenUViT, images, diffusion_images, labels, classifier: Classifier) -> Tensor:
    with autocast(CPU, BFLOAT16):
        settings = classifier.optimisation, classifier.head_settings
        return classifier_losses(head, uvit, images, diffusion_images, labels, *settings, step=0)["loss"]


def plain_losses(head, uvit: FrozenUViT, images, diffusion_images, labels, classifier: Classifier) -> Tensor:
    """As published: image and mirror image one after the other, each through the whole U-ViT, all in float32.

    The published U-ViT always takes a pair, so each side of the cycle loss passes the same images twice. It takes an
    argmax and so has no gradient: that spares the plain step a backward pass that ours does.
    """
    clean = to_model_range(diffusion_images)
    t = torch.randint(classifier.timestep_low, classifier.timestep_high + 1, (len(labels),))
    logits = head(images, _features(uvit, clean, t))
    flipped = head(images.flip(-1), _features(uvit, clean.flip(-1), t))
    loss = F.cross_entropy(logits, labels) + classifier.consistency_weight * consistency_loss(logits, flipped)
    with torch.no_grad():
        level = torch.randint(uvit.schedule.timesteps, (len(labels),))
        noisy = uvit.schedule.add_noise(clean, torch.randn(clean.shape), level)
        predicted, _ = as_pair(uvit.model, noisy, level, uvit.model.embed_labels(logits.argmax(dim=1)))
        truth, _ = as_pair(uvit.model, noisy, level, uvit.model.embed_labels(labels))
        cycle = F.mse_loss(predicted, truth)
    return loss + classifier.cycle_weight * cycle


def _features(uvit: FrozenUViT, clean: Tensor, t: Tensor) -> list[Tensor]:
    tokens = whole_pass(uvit.model, clean, t, uvit.blocks)
    grid = uvit.model.grid
    return [block[:, 1:].transpose(1, 2).unflatten(2, (grid, grid)) for block in tokens]
