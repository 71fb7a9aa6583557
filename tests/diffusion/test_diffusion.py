"""Stage 1: the network, the forward process, the losses, the pairs, the sampler."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from dcube.config.schema import Diffusion
from dcube.data.prepared import UNLABELLED
from dcube.diffusion.losses import contrastive_loss, squared_distance_pooled, squared_distance_published
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.pairs import PairSampler
from dcube.diffusion.ranges import from_model_range, to_model_range
from dcube.diffusion.sampler import sample
from dcube.diffusion.training import PairBatch, pair_losses
from dcube.diffusion.uvit import UViT
from dcube.diffusion.weights import build_uvit
from dcube.errors import DcubeError


@pytest.fixture(scope="module")
def model() -> UViT:
    torch.manual_seed(0)
    return UViT(image_size=16, channels=1, classes=3, patch_size=4, width=32, depth=4, heads=2).eval()


# --- U-ViT


def test_network_of_the_paper_has_the_published_size() -> None:
    """Width 512, depth 12: 13 blocks; the published U-ViT-S/4 (same width and depth, 13 blocks) has 44 M parameters."""
    with torch.device("meta"):
        model = UViT(image_size=128, channels=1, classes=3, patch_size=8, width=512, depth=12, heads=8)
    assert len(model.blocks) == 13
    assert model.middle == 6
    block = 4 * 512**2 + 8 * 512**2  # attention and MLP
    expected = 13 * block + 6 * 2 * 512**2
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("size", "channels", "patch"), [(16, 1, 4), (24, 3, 8), (28, 1, 2)])
def test_uvit_accepts_any_size_patch_and_channel_count(size: int, channels: int, patch: int) -> None:
    model = UViT(size, channels, classes=2, patch_size=patch, width=16, depth=2, heads=2)
    x = torch.randn(2, channels, size, size)
    assert model(x, torch.tensor([0, 999])).shape == x.shape
    features = model.forward_intermediates(x, torch.tensor([0, 999]), indices=[2, 0])
    assert [tuple(f.shape) for f in features] == [(2, 16, size // patch, size // patch)] * 2


@torch.no_grad()
def test_patch_keeps_its_position() -> None:
    """If blocks add nothing, a changed patch changes only this patch of the output and of the features."""
    model = UViT(image_size=8, channels=1, classes=1, patch_size=2, width=16, depth=2, heads=2)
    for block in model.blocks:
        for layer in (block.attention.proj, block.mlp.fc2):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    x, t = torch.zeros(1, 1, 8, 8), torch.tensor([5])
    changed = x.clone()
    changed[0, 0, 2:4, 6:8] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # row 1, column 3 of the patches
    difference = (model(changed, t) - model(x, t)).abs()[0, 0]
    assert {(row // 2, column // 2) for row, column in difference.nonzero().tolist()} == {(1, 3)}
    (before,), (after,) = (model.forward_intermediates(image, t, indices=[0]) for image in (x, changed))
    assert (after != before).any(dim=1).nonzero().tolist() == [[0, 1, 3]]
    grid = torch.nn.functional.unfold(image := torch.randn(1, 1, 8, 8), kernel_size=2, stride=2).view(1, 4, 4, 4)
    assert torch.equal(model.unpatchify(grid), image), "pixels inside a patch too"


def test_intermediate_features_equal_those_of_the_full_pass(model: UViT) -> None:
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([3, 500])
    _, middle = model(x, t, middle_features=True)
    (feature,) = model.forward_intermediates(x, t, indices=[model.middle])
    torch.testing.assert_close(feature.flatten(2).transpose(1, 2), middle)


def test_blocks_after_the_deepest_requested_are_not_run(model: UViT) -> None:
    calls: list[int] = []
    hooks = [b.register_forward_hook(lambda *_, i=i: calls.append(i)) for i, b in enumerate(model.blocks)]
    model.forward_intermediates(torch.randn(1, 1, 16, 16), torch.tensor([1]), indices=[1, 2])
    assert calls == [0, 1, 2]
    for hook in hooks:
        hook.remove()


def test_missing_label_is_the_default_and_differs_from_every_label(model: UViT) -> None:
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([10])
    free = model(x, t)
    torch.testing.assert_close(model(x, t, model.embed_labels(torch.tensor([UNLABELLED]))), free)
    for label in range(3):
        assert not torch.allclose(model(x, t, model.embed_labels(torch.tensor([label]))), free)


def test_probability_of_one_has_the_embedding_of_its_label(model: UViT) -> None:
    one_hot = torch.eye(3)
    torch.testing.assert_close(model.embed_probabilities(one_hot), model.embed_labels(torch.arange(3)))


# --- Eq. (1)


def test_noise_schedule_equals_equation_1() -> None:
    diffusion = Diffusion()
    schedule = NoiseSchedule(diffusion)
    beta = np.linspace(1e-4, 0.02, 1000)
    products = np.cumprod(1 - beta)
    clean, noise = torch.randn(1000, 1, 4, 4).double(), torch.randn(1000, 1, 4, 4).double()
    t = torch.arange(1000)
    expected = (
        np.sqrt(products)[:, None, None, None] * clean.numpy()
        + np.sqrt(1 - products)[:, None, None, None] * noise.numpy()
    )
    np.testing.assert_allclose(schedule.add_noise(clean, noise, t).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_training_target_is_converted_back_to_the_noise(prediction: str) -> None:
    schedule = NoiseSchedule(Diffusion(prediction=prediction))
    clean, noise, t = torch.randn(8, 1, 4, 4), torch.randn(8, 1, 4, 4), torch.randint(0, 1000, (8,))
    noisy = schedule.add_noise(clean, noise, t)
    torch.testing.assert_close(
        schedule.to_epsilon(schedule.target(clean, noise, t), noisy, t), noise, atol=1e-4, rtol=1e-4
    )


def test_pixel_ranges_are_inverse() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    torch.testing.assert_close(from_model_range(to_model_range(pixels)), pixels)


# --- Eq. (4)


def test_contrastive_loss_equals_manual_result() -> None:
    """Two equal pairs with d² = 0 and 0.5, two different pairs inside and outside the margin 1, and an invalid pair."""
    loss = contrastive_loss(
        torch.tensor([0.0, 0.5, 0.25, 3.0, 9.0]),
        torch.tensor([False, False, True, True, False]),
        margin=1.0,
        valid=torch.tensor([True, True, True, True, False]),
    )
    assert loss.item() == pytest.approx((0.0 + 0.5 + 0.75 + 0.0) / 4)


def test_contrastive_loss_is_zero_without_valid_pairs() -> None:
    loss = contrastive_loss(
        torch.ones(2, requires_grad=True), torch.tensor([True, False]), 1.0, torch.zeros(2, dtype=torch.bool)
    )
    assert loss.item() == 0.0


def test_pooled_distance_is_bounded_and_published_distance_is_not() -> None:
    """Fault 4 of the published code: at the paper's size, its distance is far beyond any margin."""
    first, second = torch.randn(4, 256, 512), torch.randn(4, 256, 512)
    assert (squared_distance_pooled(first, second) <= 4.0 + 1e-5).all()
    assert (squared_distance_published(first, second) > 1e5).all()
    torch.testing.assert_close(squared_distance_pooled(first, 3 * first), torch.zeros(4), atol=1e-5, rtol=0)


def _batch(n: int = 8) -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, n, 1, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.arange(n) % 3
    different = torch.arange(n) % 2 == 1
    return PairBatch(
        images[0], images[1], labels, (labels + different.long()) % 3, different, torch.ones(n, dtype=torch.bool)
    )


@pytest.mark.parametrize("contrastive", ["pooled", "published"])
def test_every_loss_of_stage_1_trains_the_patch_embedding(contrastive: str) -> None:
    diffusion = Diffusion(
        width=32, depth=2, heads=2, patch_size=4, contrastive=contrastive, label_dropout=0.5, margin=1.0
    )
    for name in ("diffusion_loss", "contrastive_loss"):
        model = build_uvit(diffusion, image_size=16, channels=1, classes=3)
        losses = pair_losses(model, model, NoiseSchedule(diffusion), diffusion, _batch(), step=0)
        losses[name].backward()
        assert model.patch_embedding.weight.grad.abs().sum() > 0, name


def test_pooled_contrastive_loss_does_not_train_label_embeddings() -> None:
    """Fault 3 of the published code: the label embeddings alone can satisfy its contrastive loss."""
    diffusion = Diffusion(width=32, depth=2, heads=2, patch_size=4, label_dropout=0.5, margin=1.0)
    model = build_uvit(diffusion, image_size=16, channels=1, classes=3)
    pair_losses(model, model, NoiseSchedule(diffusion), diffusion, _batch(), step=0)["contrastive_loss"].backward()
    assert model.label_embedding.weight.grad[:3].abs().sum() == 0
    assert model.label_embedding.weight.grad[3].abs().sum() > 0


def test_label_dropout_trains_the_label_free_path() -> None:
    """Fault 2 of the published code: the embedding "no label", which stage 2 uses, is never trained."""
    for dropout, trained in ((0.0, False), (0.5, True)):
        diffusion = Diffusion(width=32, depth=2, heads=2, patch_size=4, label_dropout=dropout, contrastive="off")
        model = build_uvit(diffusion, image_size=16, channels=1, classes=3)
        pair_losses(model, model, NoiseSchedule(diffusion), diffusion, _batch(), step=0)["loss"].backward()
        assert (model.label_embedding.weight.grad[3].abs().sum() > 0) == trained


def test_one_forward_pass_of_a_pair_equals_two() -> None:
    diffusion = Diffusion(width=32, depth=2, heads=2, patch_size=4, label_dropout=0.0, contrastive="published")
    model, batch, schedule = build_uvit(diffusion, 16, 1, 3), _batch(), NoiseSchedule(diffusion)
    together = pair_losses(model, model, schedule, diffusion, batch, step=3)["diffusion_loss"]
    apart = 0.0
    for images, labels in ((batch.first, batch.first_labels), (batch.second, batch.second_labels)):
        alone = PairBatch(images, images, labels, labels, batch.different, batch.labelled)
        apart += pair_losses(model, model, schedule, diffusion, alone, step=3)["diffusion_loss"] / 2
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize(
    ("contrastive", "dropout", "shared"), [("pooled", 1, True), ("pooled", 0, False), ("off", 1, False)]
)
def test_only_compared_pairs_share_timestep_and_noise(contrastive: str, dropout: float, shared: bool) -> None:
    diffusion = Diffusion(width=32, depth=2, heads=2, patch_size=4, label_dropout=dropout, contrastive=contrastive)
    model, schedule = build_uvit(diffusion, 16, 1, 3), NoiseSchedule(diffusion)
    images, labels = torch.full((4, 1, 16, 16), 128, dtype=torch.uint8), torch.zeros(4, dtype=torch.long)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def network(noisy: torch.Tensor, t: torch.Tensor, *rest: torch.Tensor, **options: bool):
        seen.append((noisy, t))
        return model(noisy, t, *rest, **options)

    labelled = torch.ones(4, dtype=torch.bool)
    batch = PairBatch(images, images, labels, labels, ~labelled, labelled)
    pair_losses(network, model, schedule, diffusion, batch, step=0)
    ((noisy, t),) = seen
    assert torch.equal(*t.chunk(2)) == shared
    assert torch.equal(*noisy.chunk(2)) == shared


# --- pairs


@settings(max_examples=50)
@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    unlabelled=st.integers(0, 10),
    seed=st.integers(0, 2**31),
)
def test_pairs_cover_all_images_and_half_are_different(counts: list[int], unlabelled: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(-1, len(counts)), [unlabelled, *counts]))
    pairs = PairSampler(labels, seed).epoch(0)
    assert sorted(pairs.first) == list(range(len(labels)))
    first, second = labels[pairs.first], labels[pairs.second]
    labelled = first != -1
    assert (pairs.labelled == labelled).all()
    assert ((first != second) == pairs.different)[labelled].all()
    assert (second != -1)[labelled].all()
    assert abs(int(pairs.different.sum()) * 2 - int(labelled.sum())) <= 1
    again = PairSampler(labels, seed).epoch(0)
    assert (again.first == pairs.first).all()
    assert (again.second == pairs.second).all()


def test_partners_are_uniform_over_other_classes_and_over_images() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 300])
    sampler = PairSampler(labels, seed=0)
    epochs = [sampler.epoch(e) for e in range(200)]
    second = np.concatenate([p.second[p.different & (labels[p.first] == 2)] for p in epochs])
    assert chisquare(np.bincount(labels[second], minlength=3)[:2]).pvalue > 1e-3
    equal = np.concatenate([p.second[~p.different & (labels[p.first] == 1)] for p in epochs])
    assert chisquare(np.bincount(equal, minlength=30)[10:30]).pvalue > 1e-3


# --- sampler


def test_image_depends_only_on_its_seed_and_label(model: UViT) -> None:
    schedule, labels, seeds = (
        NoiseSchedule(Diffusion(prediction="v_prediction")),
        torch.tensor([0, 1, 2, -1, 0]),
        [5, 6, 7, 8, 5],
    )
    together = sample(model, schedule, labels, seeds, steps=5, batch_size=5, shape=(1, 16, 16))
    alone = sample(model, schedule, labels, seeds, steps=5, batch_size=2, shape=(1, 16, 16))
    assert (together.int() - alone.int()).abs().max() <= 1
    assert (together[0].int() - together[4].int()).abs().max() <= 1
    assert not torch.equal(together[0], together[1])


def test_sampler_with_perfect_model_reaches_its_image() -> None:
    """If the model knows the only image of its data set, DPM-Solver++ reaches it from any noise."""
    schedule = NoiseSchedule(Diffusion())
    image = torch.linspace(-0.9, 0.9, 256).view(1, 1, 16, 16)

    class Oracle(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def embed_labels(self, labels):
            return None

        def forward(self, x, t, condition):
            nothing, one = torch.zeros_like(x), torch.ones_like(x)
            alpha, sigma = schedule.add_noise(one, nothing, t), schedule.add_noise(nothing, one, t)
            return (x - alpha * image) / sigma

    made = sample(Oracle(), schedule, torch.tensor([0, 0]), [1, 2], steps=20, batch_size=2, shape=(1, 16, 16))  # type: ignore[arg-type]
    assert (made.int() - from_model_range(image).int()).abs().max() <= 2


def test_sampling_with_nonfinite_values_is_refused() -> None:
    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def embed_labels(self, labels):
            return None

        def forward(self, x, t, condition):
            return x * torch.nan

    with pytest.raises(DcubeError, match="not finite in 5 steps"):
        sample(Broken(), NoiseSchedule(Diffusion()), torch.tensor([0]), [1], 5, 1, (1, 16, 16))  # type: ignore[arg-type]


def test_sampling_zero_images_gives_an_empty_batch(model: UViT) -> None:
    made = sample(
        model,
        NoiseSchedule(Diffusion()),
        torch.empty(0, dtype=torch.long),
        [],
        steps=5,
        batch_size=4,
        shape=(1, 16, 16),
    )
    assert made.shape == (0, 1, 16, 16)
