"""DiffMIC: forward process and sampler, guidance, losses, and predictions that depend on the image only."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dcube.classifier.candidate import build_method
from dcube.classifier.methods import diffmic
from dcube.classifier.methods.diffmic import Denoiser, DiffMIC, LabelDiffusion, first_noises, mmd
from dcube.classifier.networks.contract import OwnLosses, Task
from dcube.classifier.networks.diffmic_guidance import DualGuidance, salient_regions
from dcube.engine.pretrained import NO_WEIGHTS, create_pretrained
from tests.support.random_images import images_of, rng_of

ALPHA_BARS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def small(classes: int = 3, width: int = 24) -> DiffMIC:
    torch.manual_seed(0)
    whole, parts = (create_pretrained("test_resnet", features_only=True, out_indices=(4,)) for _ in range(2))
    encoder = create_pretrained("test_resnet", num_classes=width)
    return DiffMIC(DualGuidance(whole, parts, 96, classes), encoder, classes, width)


def gradient(parameters: Iterable[nn.Parameter]) -> float:
    return sum(float(p.grad.abs().sum()) for p in parameters if p.grad is not None)


# --- forward process and sampler


@pytest.mark.parametrize("t", [0, 120, 600, 999])
def test_noisy_labels_have_the_mean_and_variance_of_the_forward_process(t: int) -> None:
    n = 40_000
    label, prior = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.5, 0.2, 0.3])
    noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(t))
    noisy = LabelDiffusion().noised(label.expand(n, 3), prior.expand(n, 3), noise, torch.full((n,), t))
    signal, spread = math.sqrt(ALPHA_BARS[t]), math.sqrt(1 - ALPHA_BARS[t])
    mean = signal * label + (1 - signal) * prior
    torch.testing.assert_close(noisy.mean(dim=0), mean, atol=5 * spread / math.sqrt(n), rtol=0)
    torch.testing.assert_close(noisy.std(dim=0), torch.full((3,), spread), atol=0, rtol=0.02)


def test_forward_process_starts_at_the_label_and_ends_at_the_prior() -> None:
    label, prior = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.9, 0.1]])
    first, last = (LabelDiffusion().noised(label, prior, torch.zeros(1, 2), torch.tensor([t])) for t in (0, 999))
    torch.testing.assert_close(first, label, atol=1e-4, rtol=0)
    torch.testing.assert_close(last, prior, atol=0.01, rtol=0)


def test_sampling_with_the_true_noise_inverts_the_forward_process() -> None:
    diffusion, generator = LabelDiffusion(), torch.Generator().manual_seed(0)
    labels = torch.eye(4)[torch.tensor([2, 0, 3])]
    prior, noise = torch.rand(3, 4, generator=generator).softmax(1), torch.randn(3, 4, generator=generator)
    seen: list[int] = []

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        torch.testing.assert_close(noisy, diffusion.noised(labels, prior, noise, t.expand(3)), atol=1e-3, rtol=0)
        seen.append(int(t))
        return noise

    start = diffusion.noised(labels, prior, noise, torch.full((3,), 999))
    torch.testing.assert_close(diffusion.sampled(denoise, prior, start), labels, atol=1e-3, rtol=0)
    assert seen[0] == 999
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == diffmic.SAMPLING_STEPS


def test_wrong_denoiser_keeps_labels_in_their_range() -> None:
    prior = torch.tensor([[0.7, 0.3]])
    sampled = LabelDiffusion().sampled(lambda noisy, t: torch.full_like(noisy, 3.0), prior, prior + 1)
    assert ((sampled - prior).abs() <= 1 + 1e-6).all()


def test_initial_noises_sum_to_zero_for_each_class() -> None:
    noises = first_noises(5)
    torch.testing.assert_close(noises.sum(dim=0), torch.zeros(5))
    assert torch.equal(noises, first_noises(5))
    assert 0.5 < noises.std() < 1.5


# --- discrepancy


def test_mmd_equals_a_plain_double_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 3, generator=generator), 1 + torch.randn(4, 3, generator=generator)

    def kernel(a: Tensor, b: Tensor) -> float:
        return float(np.mean([[math.exp(-float(((p - q) ** 2).sum()) / 9) for q in b] for p in a]))

    expected = kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
    assert expected > 0.1
    assert float(mmd(x, y)) == pytest.approx(expected, rel=1e-5)
    assert float(mmd(x, x[[3, 0, 4, 1, 2]])) == pytest.approx(0, abs=1e-6)


# --- guidance


def test_regions_are_the_most_salient_cells_of_the_image() -> None:
    images = images_of(1, side=128, channels=3)
    saliency = torch.zeros(1, 2, 4, 4)
    saliency[0, 0, 1, 2], saliency[0, 0, 0, 0] = 1000.0, -500.0  # large values of one class must not hide another class
    saliency[0, 1, 3, 0] = 0.001
    regions = salient_regions(images, saliency)
    assert regions.shape == (1, 6, 3, 32, 32)
    first_two = {regions[0, k].numpy().tobytes() for k in range(2)}
    expected = {images[0, :, 32:64, 64:96].numpy().tobytes(), images[0, :, 96:, :32].numpy().tobytes()}
    assert first_two == expected
    assert images[0, :, :32, :32].numpy().tobytes() not in {r.numpy().tobytes() for r in regions[0]}


def test_flat_saliency_map_gives_regions() -> None:
    images = images_of(2, side=64)
    regions = salient_regions(images, torch.ones(2, 3, 2, 2))
    assert {r.numpy().tobytes() for r in regions[0]} == {
        images[0, :, y : y + 32, x : x + 32].numpy().tobytes() for y in (0, 32) for x in (0, 32)
    }


def test_attention_weights_sum_to_one_and_follow_their_regions() -> None:
    guidance = small().guidance.eval()
    vectors = torch.randn(2, 5, 96)
    weights = guidance.attention(vectors)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 1))
    shuffled = guidance.attention(vectors[:, [4, 2, 0, 1, 3]])
    torch.testing.assert_close(shuffled, weights[:, [4, 2, 0, 1, 3]])
    assert weights.std() > 0


# --- losses


def test_diffusion_losses_do_not_train_the_guidance() -> None:
    """Every part of the guidance learns from the labels instead."""
    model = small()
    assert isinstance(model, OwnLosses)
    images, labels = images_of(6, 64), torch.arange(6) % 3
    guide, rest = model.guidance, [*model.denoiser.parameters(), *model.encoder.parameters()]
    for name in ("noise_loss", "global_mmd", "local_mmd"):
        model.zero_grad()
        model.losses(images, labels, rng_of(6))[name].backward()
        assert gradient(rest) > 0, name
        assert gradient(guide.parameters()) == 0, name
    model.zero_grad()
    model.losses(images, labels, rng_of(6))["guidance_loss"].backward()
    assert gradient(rest) == 0
    for part in (guide.saliency, guide.local_logits, guide.attention, guide.global_encoder, guide.local_encoder):
        assert gradient(part.parameters()) > 0


def test_loss_is_the_weighted_sum_of_its_terms_and_reproducible() -> None:
    model, labels = small(), torch.arange(6) % 3
    values, again, other = (model.losses(images_of(6, 64), labels, rng_of(6, seed)) for seed in (0, 0, 1))
    parts = values["guidance_loss"] + values["noise_loss"] + 0.5 * (values["global_mmd"] + values["local_mmd"])
    torch.testing.assert_close(values["loss"], parts)
    torch.testing.assert_close(values["noise_loss"], again["noise_loss"])
    assert (values["noise_loss"] - other["noise_loss"]).abs() > 1e-4
    torch.testing.assert_close(values["guidance_loss"], other["guidance_loss"])


def test_denoiser_uses_all_its_inputs() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(classes=3, width=24).eval()
    told = [torch.randn(2, 24), torch.randn(2, 3), torch.rand(2, 3), torch.tensor([3, 700])]
    out = denoiser(*told)
    for i in range(4):
        changed = [x.flip(0) if j == i else x for j, x in enumerate(told)]
        assert (denoiser(*changed) - out).abs().max() > 1e-4, i


def test_losses_stay_finite_in_half_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        values = small().losses(images_of(4, 64), torch.arange(4) % 3, rng_of(4))
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in values.values())


# --- predictions


@pytest.mark.parametrize(("channels", "side", "classes"), [(1, 32, 2), (3, 96, 5)])
def test_network_accepts_sizes_channels_and_class_counts(channels: int, side: int, classes: int) -> None:
    model, images = small(classes), images_of(2, side, channels)
    assert torch.isfinite(model.losses(images, torch.tensor([0, 1]), rng_of(2))["loss"])
    assert model.eval()(images).shape == (2, classes)


@torch.no_grad()
def test_prediction_depends_on_its_image_only() -> None:
    model, images = (
        small().eval(),
        images_of(4, 64) // torch.tensor([1, 2, 4, 8], dtype=torch.uint8)[:, None, None, None],
    )
    together = model(images)
    torch.testing.assert_close(model(images.flip(0)).flip(0), together, atol=2e-5, rtol=0)
    torch.testing.assert_close(torch.cat([model(image[None]) for image in images]), together, atol=2e-5, rtol=0)
    assert (together[0] - together[3]).abs().max() > 5e-4


@torch.no_grad()
def test_saved_weights_give_the_same_predictions() -> None:
    model, copy = small().eval(), small()
    for parameter in copy.parameters():
        parameter.add_(0.1)
    copy.load_state_dict(model.state_dict())
    torch.testing.assert_close(copy.eval()(images_of(2, 64)), model(images_of(2, 64)), atol=0, rtol=0)


def test_parameter_counts_equal_the_published_ones() -> None:
    """Trunks of ResNet-50 and ResNet-18 have 23,508,032 and 11,176,512 parameters (He et al. 2016)."""
    classes, width = 7, 6144
    with torch.device("meta"):
        model = build_method("diffmic", Task(classes, 224, 3), NO_WEIGHTS)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert counts["guidance"] == 2 * 23_508_032 + 2 * 2048 * classes + 2 * 2048 * 128 + 128
    assert counts["encoder"] == 11_176_512 + 512 * width + width
    timed = 3 * 1000 * width + (2 * classes + 2 * width) * width + 3 * width
    assert counts["denoiser"] == timed + 4 * 2 * width + width * classes + classes


@pytest.mark.slow
def test_diffmic_overfits_32_images() -> None:
    model = small(classes=2, width=128)
    labels = torch.arange(32) % 2
    images = images_of(32, 64) // 2
    images[labels == 1, :, 8:40, 8:40] += 100
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0)
    for step in range(100):
        chosen = torch.randperm(32, generator=torch.Generator().manual_seed(step))[:16]
        optimiser.zero_grad()
        model.losses(images[chosen], labels[chosen], rng_of(16, step))["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        found = model.eval()(images)
    assert (found.argmax(dim=1) == labels).float().mean() == 1.0


@pytest.mark.slow
def test_denoiser_finds_labels_with_a_uniform_prior() -> None:
    torch.manual_seed(0)
    labels, prior, model = torch.arange(32) % 2, torch.full((32, 2), 0.5), small(classes=2, width=128)
    described, denoiser, diffusion = torch.randn(32, 128) + labels[:, None], model.denoiser, model.diffusion
    model.encoder = nn.Identity()
    del model.guidance
    model.guidance = lambda images: (prior, prior)  # type: ignore[assignment]
    optimiser = torch.optim.AdamW(denoiser.parameters(), 1e-3, weight_decay=0)
    for step in range(600):
        noise, t = rng_of(32, step).normal(2), rng_of(32, step).integers(0, 1000)
        noisy = diffusion.noised(nn.functional.one_hot(labels, 2).float(), prior, noise, t)
        optimiser.zero_grad()
        (denoiser(described, noisy, prior, t) - noise).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        assert (model.eval()(described).argmax(dim=1) == labels).float().mean() == 1.0
