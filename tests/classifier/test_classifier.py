"""Stage 2: the head, the losses and their gradients, candidates on disk, training of every kind."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision.transforms.functional import normalize

from dcube.artifacts.candidates import CLASSIFIER_KINDS, DCUBE, SUB_FEATURES, UNTRAINED
from dcube.artifacts.schemas.candidate import Calibration
from dcube.classifier.calibration import with_temperature
from dcube.classifier.candidate import build_head, load_candidate, probabilities, save_candidate
from dcube.classifier.head import DCubeHead, normalise_tokens
from dcube.classifier.image_table import ImageTable
from dcube.classifier.losses import consistency_loss, cycle_loss
from dcube.classifier.networks.contract import Task
from dcube.classifier.training import classifier_losses, train_candidate
from dcube.config.loading import with_overrides
from dcube.config.schema import Classifier, HeadSettings, Params, Pretrained
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.weights import build_uvit
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.image_network import ImageNetwork
from dcube.features.frozen_uvit import FrozenUViT, with_random_weights
from dcube.studies.study import Row, load_study
from tests.support.random_candidate import candidate_config

TASK = Task(classes=3, image_size=32, channels=1)
KINDS = [DCUBE, UNTRAINED, SUB_FEATURES, "resnet10t"]


@pytest.fixture
def uvit(tiny_params: Params) -> FrozenUViT:
    model = build_uvit(tiny_params.diffusion, image_size=16, channels=1, classes=3).eval().requires_grad_(False)
    return FrozenUViT(model, NoiseSchedule(tiny_params.diffusion), blocks=(2, 1))


def head_of(kind: str, params: Params, uvit: FrozenUViT) -> nn.Module:
    torch.manual_seed(0)
    used = uvit if kind in (DCUBE, UNTRAINED) else None
    return build_head(kind, settings_of(kind, params), TASK, used, load_pretrained=True)


def settings_of(kind: str, params: Params) -> Classifier | Pretrained:
    return params.baseline if kind == "resnet10t" else params.classifier


def batch(n: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 32, 32), generator=generator, dtype=torch.uint8)
    return images, images[:, :, ::2, ::2].contiguous(), torch.arange(n) % 3


# --- head


@pytest.mark.parametrize(("channels", "image_size", "fused"), [(1, 32, 1), (3, 48, 4)])
def test_head_has_one_logit_per_class(
    channels: int, image_size: int, fused: int, tiny_params: Params, uvit: FrozenUViT
) -> None:
    classifier = tiny_params.classifier.model_copy(update={"fused_channels": fused})
    head = build_head(DCUBE, classifier, TASK, uvit, load_pretrained=False)
    images = torch.randint(0, 256, (2, channels, image_size, image_size), dtype=torch.uint8)
    features = [torch.randn(2, 32, 4, 4) for _ in uvit.blocks]
    assert head(images, features).shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("row", load_study("table8").rows, ids=lambda row: row.name)
def test_sub_feature_networks_of_table_8_accept_any_image_size(row: Row, tiny_params: Params) -> None:
    settings = load_study("table8").settings | row.settings
    params = with_overrides(tiny_params, settings, where="table8")
    for size in (32, 64):
        task = Task(classes=2, image_size=size, channels=1)
        head = build_head(SUB_FEATURES, params.classifier, task, None, load_pretrained=True).eval()
        assert head(torch.zeros(1, 1, size, size, dtype=torch.uint8)).shape == (1, 2)


def test_head_uses_images_and_features(tiny_params: Params, uvit: FrozenUViT) -> None:
    head = head_of(DCUBE, tiny_params, uvit).eval()
    images, _, _ = batch(2)
    features = [torch.randn(2, 32, 4, 4) for _ in uvit.blocks]
    out = head(images, features)
    assert not torch.allclose(head(images.flip(0), features), out)
    assert not torch.allclose(head(images, [f.flip(0) for f in features]), out)


def test_fused_channel_is_added_to_its_product_with_sub_scores(tiny_params: Params, uvit: FrozenUViT) -> None:
    """With zero scores, every channel is a copy of the fused one."""
    head = head_of(DCUBE, tiny_params, uvit).eval()
    assert isinstance(head, DCubeHead)
    nn.init.zeros_(head.score.weight)
    nn.init.zeros_(head.score.bias)  # type: ignore[arg-type]
    seen: list[torch.Tensor] = []
    head.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images, _, _ = batch(2)
    head(images, [torch.randn(2, 32, 4, 4) for _ in uvit.blocks])
    assert seen[0].shape == (2, 3, 4, 4)
    torch.testing.assert_close(seen[0][:, 0], seen[0][:, 1])


def test_sub_features_are_computed_once_for_all_noise_levels(tiny_params: Params, uvit: FrozenUViT) -> None:
    head = head_of(DCUBE, tiny_params, uvit).eval()
    assert isinstance(head, DCubeHead)
    images, _, _ = batch(2)
    levels = [[torch.randn(2, 32, 4, 4) for _ in uvit.blocks] for _ in range(3)]
    expected = [head(images, features) for features in levels]
    passes: list[None] = []
    head.sub_network.register_forward_hook(lambda *_: passes.append(None))  # type: ignore[union-attr]
    for ours, alone in zip(head.at_timesteps(images, levels), expected, strict=True):
        assert torch.equal(ours, alone)
    assert len(passes) == 1


def test_each_token_is_normalised_by_itself() -> None:
    block = torch.randn(2, 32, 4, 4) * 7 + 3
    out = normalise_tokens(block)
    torch.testing.assert_close(out.mean(dim=1), torch.zeros(2, 4, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=1, correction=0), torch.ones(2, 4, 4), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("name", "mean"), [("resnet10t", [0.485, 0.456, 0.406]), ("tf_efficientnet_lite0", [0.5] * 3)])
def test_pixels_are_normalised_as_the_pretrained_weights_expect(name: str, mean: list[float]) -> None:
    seen: list[torch.Tensor] = []
    network = ImageNetwork(timm.create_model(name))
    network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    network(images)
    std = [0.5] * 3 if mean == [0.5] * 3 else [0.229, 0.224, 0.225]
    torch.testing.assert_close(seen[0], normalize(images.expand(-1, 3, -1, -1) / 255, mean, std))


# --- losses


def test_every_loss_of_stage_2_has_a_gradient(tiny_params: Params, uvit: FrozenUViT) -> None:
    """Fault 1 of the published code: its cycle loss passes through an argmax and has no gradient."""
    for name in ("cross_entropy", "consistency_loss", "cycle_loss"):
        head = head_of(DCUBE, tiny_params, uvit)
        settings = tiny_params.classifier
        values = classifier_losses(head, uvit, *batch(), settings.optimisation, settings.head_settings, step=0)
        values[name].backward()
        assert head.fuse.weight.grad.abs().sum() > 0, name  # type: ignore[union-attr]
        assert all(p.grad is None for p in uvit.model.parameters())


def test_cycle_loss_falls_as_predictions_approach_the_labels(uvit: FrozenUViT) -> None:
    noisy, t, labels = torch.randn(6, 1, 16, 16), torch.full((6,), 500), torch.arange(6) % 3
    right = 50 * nn.functional.one_hot(labels, 3).float()
    wrong = right.roll(1, dims=1)
    at = [cycle_loss(uvit.model, noisy, t, logits, labels).item() for logits in (right, torch.zeros(6, 3), wrong)]
    assert at[0] == pytest.approx(0.0, abs=1e-10)
    assert at[0] < at[1] < at[2]


def test_consistency_loss_equals_manual_result() -> None:
    assert consistency_loss(
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    ).item() == pytest.approx((5 + 9) / 2)


def test_loss_is_the_weighted_sum_of_its_terms(tiny_params: Params, uvit: FrozenUViT) -> None:
    settings = tiny_params.classifier.head_settings

    def losses(weights: HeadSettings) -> dict[str, torch.Tensor]:
        head = head_of(DCUBE, tiny_params, uvit)
        return classifier_losses(head, uvit, *batch(), tiny_params.classifier.optimisation, weights, step=0)

    values = losses(settings)
    expected = (
        values["cross_entropy"]
        + settings.cycle_weight * values["cycle_loss"]
        + settings.consistency_weight * values["consistency_loss"]
    )
    torch.testing.assert_close(values["loss"], expected)
    assert losses(HeadSettings()).keys() == {"loss", "cross_entropy"}


# --- candidates


@pytest.mark.parametrize("kind", KINDS)
def test_saved_candidate_predicts_like_the_trained_head(
    kind: str, tiny_params: Params, uvit: FrozenUViT, disc_dataset: PreparedDataset, tmp_path: Path
) -> None:
    used = {DCUBE: uvit, UNTRAINED: with_random_weights(uvit, tiny_params.diffusion, seed=7)}.get(kind)
    own_settings = tiny_params.classifier if kind in CLASSIFIER_KINDS else tiny_params.baseline
    head = build_head(kind, own_settings, TASK, used, load_pretrained=True)
    train, validation = (ImageTable.of_split(disc_dataset, split) for split in ("train", "validation"))
    settings, checkpoints = tiny_params.classifier, Checkpoints(tmp_path / "c", "k")
    result = train_candidate(
        head, used, train, validation, settings.optimisation, settings.head_settings, tiny_params.compute, checkpoints
    )
    assert len(train) == 48  # unlabelled images are left out
    temperature = Calibration(temperature=2.0)
    config = candidate_config(tiny_params, kind=kind, evaluation_timesteps=[1, 3], calibration=temperature)
    (tmp_path / "model").mkdir()
    save_candidate(tmp_path / "model", result.weights, used, config)
    candidate = load_candidate(tmp_path / "model", torch.device("cpu"))
    rows = disc_dataset.indices("test")
    large, small = disc_dataset.images(32)[rows], disc_dataset.images(16)[rows]
    predicted = candidate.predict(large, small, batch_size=5)
    np.testing.assert_allclose(predicted.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(candidate.predict(large, small, batch_size=18), predicted, atol=1e-5)
    head.load_state_dict(result.weights)
    expected = probabilities(head.eval(), used, torch.from_numpy(large), torch.from_numpy(small), [1, 3])
    np.testing.assert_allclose(predicted, with_temperature(expected.numpy(), 2.0), atol=1e-5)


def test_untrained_control_differs_from_model_and_is_reproducible(uvit: FrozenUViT, tiny_params: Params) -> None:
    clean, t = torch.randn(1, 1, 16, 16), torch.tensor([1])
    trained = uvit.features(clean, t)[0]
    control = with_random_weights(uvit, tiny_params.diffusion, seed=1)
    assert not torch.allclose(control.features(clean, t)[0], trained)
    torch.testing.assert_close(
        control.features(clean, t), with_random_weights(uvit, tiny_params.diffusion, seed=1).features(clean, t)
    )


def test_dcube_overfits_a_few_images(tiny_params: Params, uvit: FrozenUViT) -> None:
    images, small, labels = batch(12)
    settings = tiny_params.classifier.model_copy(update={"flip_probability": 0.0, "dropout": 0.0, "cycle_weight": 1.0})
    head = build_head(DCUBE, settings, TASK, uvit, load_pretrained=True)
    optimizer = torch.optim.AdamW(head.parameters(), 2e-3)
    for step in range(60):
        optimizer.zero_grad()
        both = settings.optimisation, settings.head_settings
        values = classifier_losses(head, uvit, images, small, labels, *both, step)
        values["loss"].backward()
        optimizer.step()
    assert values["cross_entropy"].item() < 0.1


def test_synthetic_images_are_appended_to_the_real_ones(disc_dataset: PreparedDataset) -> None:
    made = ImageTable(
        np.full((2, 1, 32, 32), 7, np.uint8), np.full((2, 1, 16, 16), 8, np.uint8), np.array([2, 1]), np.arange(2)
    )
    table = ImageTable.of_rows(disc_dataset, disc_dataset.indices("train"), made)
    images, small, labels = table.take(np.array([0, 48, 49]), torch.device("cpu"))
    assert len(table) == 50
    assert (images[1:] == 7).all()
    assert (small[1:] == 8).all()
    assert labels.tolist() == [0, 2, 1]
