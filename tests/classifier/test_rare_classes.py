"""Class balance, augmentation and test-time flips: their effects, and that all are off by default."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dcube.artifacts.candidates import SUB_FEATURES
from dcube.classifier.augmentation import STRENGTHS, augment
from dcube.classifier.candidate import Candidate, build_head, probabilities
from dcube.classifier.class_balance import cross_entropy_of, epoch_order, refuse_without_effect
from dcube.classifier.networks.contract import OwnLosses, Task
from dcube.config.loading import load_preset, preset_names
from dcube.config.schema import ClassBalance, Params
from dcube.errors import DcubeError
from tests.support.random_candidate import candidate_config

LABELS = np.repeat([0, 1, 2], [90, 9, 1])
CPU = torch.device("cpu")


def test_balanced_sampling_draws_every_class_equally_often() -> None:
    order = epoch_order("sampling", LABELS, seed=0, epoch=0)
    assert len(order) == len(LABELS)
    assert np.ptp(np.bincount(LABELS[order])) <= 1
    assert len(np.unique(order[LABELS[order] == 0])) > 30  # the frequent class is drawn without repetition
    assert not np.array_equal(order, epoch_order("sampling", LABELS, seed=0, epoch=1))
    for other in ("none", "loss_weights", "logit_adjustment"):
        assert sorted(epoch_order(other, LABELS, seed=0, epoch=0)) == list(range(100))  # type: ignore[arg-type]


def optimum(balance: ClassBalance) -> torch.Tensor:
    """The probabilities that minimise the loss if all images look the same."""
    loss, labels = cross_entropy_of(balance, LABELS, CPU), torch.tensor(LABELS)
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(logits.expand(len(labels), 3), labels)
        value.backward()
        return value

    optimizer.step(closure)
    return logits.detach().softmax(0)


@pytest.mark.parametrize(
    ("balance", "expected"),
    [("none", [0.9, 0.09, 0.01]), ("loss_weights", [1 / 3] * 3), ("logit_adjustment", [1 / 3] * 3)],
)
def test_class_balance_sets_the_prior_of_the_probabilities(balance: ClassBalance, expected: list[float]) -> None:
    torch.testing.assert_close(optimum(balance), torch.tensor(expected), atol=2e-3, rtol=0)


def test_weighted_loss_is_the_mean_over_its_shards() -> None:
    loss, labels = cross_entropy_of("loss_weights", LABELS, CPU), torch.tensor([0, 1, 0, 2])
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    halves = [loss(logits[part], labels[part]) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(loss(logits, labels), torch.stack(halves).mean())


def test_loss_balance_is_refused_for_networks_with_their_own_loss() -> None:
    class Own(torch.nn.Module):
        def losses(self, images, labels, rng):
            raise NotImplementedError

    assert isinstance(Own(), OwnLosses)
    with pytest.raises(DcubeError, match=r"logit_adjustment does not apply to own.*sampling"):
        refuse_without_effect("logit_adjustment", Own(), "own")
    refuse_without_effect("sampling", Own(), "own")


@pytest.mark.parametrize("kind", STRENGTHS)
def test_augmentation_changes_both_image_sizes_alike_and_little(kind) -> None:
    ramp = torch.linspace(30, 220, 64).round().to(torch.uint8)
    large = (ramp[:, None] // 2 + ramp[None, :] // 2)[None, None].repeat(6, 1, 1, 1)
    small = F.avg_pool2d(large.float(), 2).to(torch.uint8)
    first, first_small = augment(large, small, kind, seed=0, step=0)
    again, _ = augment(large, small, kind, seed=0, step=0)
    other, _ = augment(large, small, kind, seed=0, step=1)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])  # each image has its own draw
    inside = (..., slice(8, -8), slice(8, -8))
    assert 0 < (first.float() - large.float())[inside].abs().mean() < 40
    shrunk = F.avg_pool2d(first.float(), 2)
    difference = (shrunk - first_small.float())[..., 4:-4, 4:-4].abs().mean()
    assert difference < 0.6 * (shrunk.roll(1, dims=0) - first_small.float())[..., 4:-4, 4:-4].abs().mean() + 3


def test_images_are_returned_unchanged_without_augmentation() -> None:
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    assert augment(images, images, "none", 0, 0)[0] is images


def test_test_time_flips_average_an_image_and_its_mirror_image(tiny_params: Params) -> None:
    torch.manual_seed(0)
    head = build_head(SUB_FEATURES, tiny_params.classifier, Task(3, 32, 1), None, load_pretrained=True).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)
    plain, flipped = (Candidate(candidate_config(tiny_params, flips=flips), head, None) for flips in (False, True))
    both = [plain.predict(each, each) for each in (images, images[..., ::-1])]
    assert not np.allclose(*both)
    np.testing.assert_allclose(flipped.predict(images, images), np.mean(both, axis=0), atol=1e-6)
    expected = probabilities(head, None, torch.from_numpy(images), torch.from_numpy(images), [1]).numpy()
    np.testing.assert_allclose(plain.predict(images, images), expected, atol=1e-6)


@pytest.mark.parametrize("name", preset_names())
def test_presets_have_no_augmentation_class_balance_or_test_time_flips(name: str) -> None:
    preset = load_preset(name)
    for group in (preset.classifier, preset.baseline):
        assert (group.augmentation, group.class_balance, group.flip_at_test) == ("none", "none", False)
