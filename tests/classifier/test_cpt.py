"""CPT: generated images and their labels, pretraining on them, and classification with the pretrained encoder."""

import copy
import hashlib
import math
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from dcube.classifier.candidate import build_method
from dcube.classifier.methods import cpt
from dcube.classifier.methods.cpt import CPT, dice, with_wider_kernels
from dcube.classifier.networks.contract import PretrainsItself, Task
from dcube.classifier.networks.pseudo_shapes import (
    PIXEL_CLASSES,
    RULES,
    Shapes,
    blur,
    draw_images,
    draw_shapes,
    insert,
    inside,
)
from dcube.classifier.training import classifier_losses, pretrain
from dcube.config.schema import HeadSettings, Params, Pretrained
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.pretrained import NO_WEIGHTS
from tests.support.random_images import images_of, rng_of

KINDS = list(RULES)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpt, "ARCHITECTURE", "pvt_v2_b0")
    monkeypatch.setattr(cpt, "PRETRAINING_STEPS", 20)
    torch.manual_seed(0)


def network(classes: int = 3, side: int = 32, channels: int = 1) -> CPT:
    model = build_method("cpt", Task(classes, side, channels), NO_WEIGHTS)
    assert isinstance(model, CPT)
    return model


def one_shape(kind: str, centre: tuple, half_axes: tuple, angle: float, contrast: float = 0.5) -> Shapes:
    return Shapes(
        torch.tensor([[1 + KINDS.index(kind)]]),
        torch.tensor([[centre]]),
        torch.tensor([[half_axes]]),
        torch.tensor([[angle]]),
        torch.tensor([[contrast]]),
    )


def both(first: Shapes, second: Shapes) -> Shapes:
    return Shapes(*(torch.cat((getattr(first, n), getattr(second, n)), dim=1) for n in Shapes.__dataclass_fields__))


# --- made images


def test_disc_contains_the_pixels_within_its_radius() -> None:
    found = inside(one_shape("ellipse", (0.4, 0.55), (0.21, 0.21), 0.7), side=40)[0, 0]
    for row in range(40):
        for column in range(40):
            distance = math.hypot(column + 0.5 - 0.4 * 40, row + 0.5 - 0.55 * 40)
            assert found[row, column] == (distance <= 0.21 * 40), (row, column)


def test_rotated_rectangle_contains_the_pixels_between_its_edges() -> None:
    """A pixel is inside if it lies on the inner side of all four edges."""
    angle, (cx, cy), (a, b) = 0.6, (0.5, 0.45), (0.3, 0.12)
    found = inside(one_shape("rectangle", (cx, cy), (a, b), angle), side=40)[0, 0]
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    corners = [
        (40 * (cx + i * a * along[0] + j * b * across[0]), 40 * (cy + i * a * along[1] + j * b * across[1]))
        for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    for row in range(40):
        for column in range(40):
            x, y = column + 0.5, row + 0.5
            sides = [
                (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
                for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True)
            ]
            assert found[row, column] == (min(sides) >= 0), (row, column)


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("ellipse", math.pi),
        ("rectangle", 4.0),
        ("triangle", 2.0),
        ("ring", math.pi * (1 - 0.3)),
        ("cross", 4 - 4 * 0.65**2),
    ],
)
def test_shapes_have_the_expected_areas(kind: str, area: float) -> None:
    found = inside(one_shape(kind, (0.5, 0.5), (0.3, 0.2), 0.4), side=200)
    assert float(found.float().mean()) == pytest.approx(area * 0.3 * 0.2, rel=0.02)


def test_pixel_labels_follow_shapes_and_later_shapes_hide_earlier_ones() -> None:
    shapes = both(
        one_shape("rectangle", (0.5, 0.5), (0.4, 0.4), 0.0, contrast=0.3),
        one_shape("ellipse", (0.5, 0.5), (0.2, 0.2), 0.0, contrast=-0.2),
    )
    image, labels = insert(torch.full((1, 32, 32), 0.5), shapes)
    for kind, brightness in ((0, 0.5), (1 + KINDS.index("rectangle"), 0.8), (1 + KINDS.index("ellipse"), 0.3)):
        assert (labels == kind).any()
        torch.testing.assert_close(image[labels == kind], torch.tensor(brightness).expand(int((labels == kind).sum())))
    assert labels[0, 16, 16] == 1 + KINDS.index("ellipse")


def test_each_image_has_its_own_gaussian_blur() -> None:
    images = torch.rand(2, 64, 64)
    blurred = blur(images, torch.tensor([0.5, 1.2]))
    for i, sigma in enumerate((0.5, 1.2)):
        expected = gaussian_blur(images[i][None], [9, 9], [sigma, sigma])[0]
        torch.testing.assert_close(blurred[i], expected, atol=1e-5, rtol=0)


def test_drawn_images_are_reproducible_from_their_seed() -> None:
    (images, labels), (again, _), (other, _) = (draw_images(rng_of(4, seed), 32) for seed in (0, 0, 1))
    assert images.shape == (4, 1, 32, 32)
    assert labels.shape == (4, 32, 32)
    assert images.dtype == torch.uint8
    assert torch.equal(images, again)
    assert (images != other).float().mean() > 0.5
    assert images.float().std() > 5


def test_every_kind_of_shape_is_about_equally_frequent() -> None:
    shapes = draw_shapes(rng_of(2000))
    counts = torch.bincount(shapes.kind.flatten(), minlength=PIXEL_CLASSES)
    assert len(counts) == PIXEL_CLASSES
    expected = shapes.kind.numel() / PIXEL_CLASSES
    assert ((counts - expected).abs() < 0.1 * expected).all()
    assert set(draw_images(rng_of(24), 32)[1].unique().tolist()) == set(range(PIXEL_CLASSES))
    assert (shapes.contrast.abs() >= 0.08).all()
    assert 0.4 < float((shapes.contrast > 0).float().mean()) < 0.6


# --- losses and network


def test_dice_of_perfect_uniform_and_wrong_predictions() -> None:
    labels = torch.zeros(1, 10, 10, dtype=torch.long)
    labels[:, :, 5:] = 1
    truth = nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
    assert float(dice(truth, labels)) == 1
    assert float(dice(truth.flip(1), labels)) == pytest.approx(1 / 101)
    assert float(dice(torch.full((1, 2, 10, 10), 0.5), labels)) == pytest.approx(51 / 101)


def test_wider_kernels_keep_the_initial_output_and_have_gradients() -> None:
    plain = timm.create_model("pvt_v2_b0", features_only=True, feature_cls="getter").eval()
    images = torch.rand(2, 3, 64, 64)
    before = [m.detach().clone() for m in plain(images)]
    after = with_wider_kernels(plain)(images)
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, b)
    after[-1].square().mean().backward()
    wide = [p for name, p in plain.named_parameters() if ".wide." in name]
    assert [p.shape[-1] for p in wide] == [9, 5, 5, 5]
    assert all(p.grad.abs().sum() > 0 for p in wide)  # type: ignore[union-attr]


def test_encoder_weights_are_loaded_from_file(tmp_path: Path) -> None:
    published, path = timm.create_model("pvt_v2_b0").state_dict(), tmp_path / "pvt.safetensors"
    save_file(published, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = Pretrained(weights="file", weights_file=str(path), weights_sha256=digest)
    loaded = build_method("cpt", Task(3, 32, 1), source).state_dict()
    for name, tensor in published.items():
        if not name.startswith("head."):
            kept = "encoder.network.model." + name.replace(".proj.", ".proj.narrow.").replace(
                "attn.proj.narrow", "attn.proj"
            )
            assert torch.equal(loaded[kept], tensor), name


@pytest.mark.parametrize(("channels", "side", "classes"), [(1, 32, 2), (3, 96, 5)])
def test_network_accepts_sizes_channels_and_class_counts(channels: int, side: int, classes: int) -> None:
    model = network(classes, side, channels).eval()
    assert model(images_of(2, side, channels)).shape == (2, classes)
    assert torch.isfinite(model.pretraining_losses(rng_of(2))["loss"])


def test_pretraining_losses_reach_encoder_and_decoder_but_not_classifier() -> None:
    model = network()
    for name in ("cross_entropy", "dice_loss"):
        model.zero_grad()
        model.pretraining_losses(rng_of(4))[name].backward()
        for part in (model.encoder, model.decoder):
            assert sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None) > 0, name
        assert model.logits.weight.grad is None


@pytest.mark.slow
def test_classifier_starts_from_the_pretrained_encoder(tmp_path: Path, tiny_params: Params) -> None:
    model = network()
    assert isinstance(model, PretrainsItself)
    assert model.pretraining_steps == 20
    changed = {"batch_size": 8, "learning_rate": 1e-3, "ema_decay": 0.5}
    settings = tiny_params.classifier.optimisation.model_copy(update=changed)
    first, untrained = {name: value.clone() for name, value in model.state_dict().items()}, copy.deepcopy(model)
    pretrain(model, settings, tiny_params.compute, Checkpoints(tmp_path, "pretraining"))
    with torch.no_grad():
        before, after = (float(m.eval().pretraining_losses(rng_of(16, 99))["loss"]) for m in (untrained, model))
    assert after < before - 0.3
    assert torch.equal(model.logits.weight, first["logits.weight"])
    assert all(not torch.equal(v, first[name]) for name, v in model.state_dict().items() if ".proj.wide." in name)

    model.zero_grad()
    images, labels = images_of(4), torch.arange(4) % 3
    with torch.no_grad():
        pooled = model.encoder(images)[-1].mean(dim=(2, 3))
        torch.testing.assert_close(model(images), model.logits(pooled))
        assert (pooled - untrained.encoder(images)[-1].mean(dim=(2, 3))).abs().max() > 0.05
    classifier_losses(model, None, images, images, labels, settings, HeadSettings(), step=0)["loss"].backward()
    assert all(p.grad is None for p in model.decoder.parameters())
    assert sum(float(p.grad.abs().sum()) for p in model.encoder.parameters() if p.grad is not None) > 0


@torch.no_grad()
def test_prediction_depends_on_its_image_only_and_survives_saving() -> None:
    model, loaded, images = network().eval(), network(), images_of(4)
    together = model(images)
    torch.testing.assert_close(torch.cat([model(image[None]) for image in images]), together, atol=1e-5, rtol=0)
    for parameter in loaded.parameters():
        parameter.add_(0.1)
    loaded.load_state_dict(model.state_dict())
    torch.testing.assert_close(loaded.eval()(images), together, atol=0, rtol=0)


@pytest.mark.slow
def test_cpt_overfits_32_images() -> None:
    model = network(classes=2, side=64)
    labels = torch.arange(32) % 2
    images = images_of(32, side=64) // 2
    images[labels == 1, :, 8:40, 8:40] += 100
    optimiser = torch.optim.AdamW(model.parameters(), 5e-4, weight_decay=1e-2)
    for step in range(60):
        chosen = torch.randperm(32, generator=torch.Generator().manual_seed(step))[:16]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimiser.step()
    assert (model.eval()(images).argmax(dim=1) == labels).float().mean() == 1.0
