"""Heatmaps point at the region that the model uses, and change when its weights are randomised."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from dcube.artifacts.candidates import DCUBE, SUB_FEATURES
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.classifier.candidate import Candidate, build_head
from dcube.classifier.image_table import ImageTable
from dcube.classifier.networks.contract import Task
from dcube.classifier.training import train_candidate
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from dcube.data.preprocessing import ModelInput
from dcube.data.readers.images import read_array
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.weights import build_uvit
from dcube.engine.checkpoints import Checkpoints
from dcube.features.frozen_uvit import FrozenUViT, with_random_weights
from dcube.inference.heatmaps import GRID, WINDOW, heatmaps, save_heatmaps
from dcube.inference.prediction import predict_batch
from tests.support.discs import CLASSES
from tests.support.random_candidate import candidate_config


def trained(kind: str, params: Params, dataset: PreparedDataset, folder: Path) -> Candidate:
    uvit = None
    if kind == DCUBE:
        model = build_uvit(params.diffusion, 16, 1, len(CLASSES)).eval()
        uvit = FrozenUViT(model, NoiseSchedule(params.diffusion), blocks=(1, 2))
    settings = params.classifier.model_copy(update={"epochs": 12, "flip_probability": 0.0})
    torch.manual_seed(0)
    head = build_head(kind, settings, Task(len(CLASSES), 32, 1), uvit, load_pretrained=False)
    images, validation = (ImageTable.of_split(dataset, split) for split in ("train", "validation"))
    both = settings.optimisation, settings.head_settings
    result = train_candidate(head, uvit, images, validation, *both, params.compute, Checkpoints(folder, "k"))
    head.load_state_dict(result.weights)
    config = candidate_config(params, kind=kind, classes=CLASSES)
    return Candidate(config, head.eval(), uvit)


def randomised(candidate: Candidate, params: Params) -> Candidate:
    """The same network with all weights newly initialised."""
    head = copy.deepcopy(candidate.head)
    torch.manual_seed(1)
    for module in head.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    uvit = candidate.uvit and with_random_weights(candidate.uvit, params.diffusion, seed=9)
    return Candidate(candidate.config, head.eval(), uvit)


def images_of(dataset: PreparedDataset) -> tuple[np.ndarray, np.ndarray]:
    rows = dataset.indices("test")
    return dataset.images(32)[rows], dataset.images(16)[rows]


@pytest.mark.parametrize("kind", [SUB_FEATURES, DCUBE])
@pytest.mark.slow
def test_random_weights_give_a_different_heatmap(kind, tiny_params, disc_dataset, tmp_path) -> None:
    """Adebayo et al., 2018: a map that does not depend on the learnt weights shows the image, not the model."""
    candidate = trained(kind, tiny_params, disc_dataset, tmp_path)
    images = images_of(disc_dataset)
    classes = candidate.predict(*images).argmax(axis=1)
    maps = heatmaps(candidate, *images, classes)
    others = heatmaps(randomised(candidate, tiny_params), *images, classes)
    likeness = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps, others, strict=True)]
    assert np.abs(np.mean(likeness)) < 0.35, likeness
    np.testing.assert_array_equal(maps, heatmaps(candidate, *images, classes))  # repeatable


class Brightness(torch.nn.Module):
    """Log-odds of class 1 that are the mean grey value of the upper left quarter alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.02))

    def forward(self, images: torch.Tensor, features=()) -> torch.Tensor:
        height, width = images.shape[-2:]
        logit = self.weight * (images[..., : height // 2, : width // 2].float().mean(dim=(1, 2, 3)) - 100)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def test_heatmap_points_at_the_region_that_the_model_uses_with_its_sign(tiny_params) -> None:
    candidate = Candidate(candidate_config(tiny_params, classes=["a", "b"]), Brightness(), None)
    image = np.random.default_rng(0).integers(0, 60, (1, 1, 64, 64), dtype=np.uint8)
    image[0, 0, 12:22, 12:22] = 250  # evidence for class 1, in the quarter that the model uses
    image[0, 0, 44:54, 44:54] = 250  # the same evidence outside that quarter
    (for_one,) = heatmaps(candidate, image, image, np.array([1]))
    (for_zero,) = heatmaps(candidate, image, image, np.array([0]))
    half = GRID // 2
    elsewhere = for_one.copy()
    elsewhere[: half + WINDOW, : half + WINDOW] = 0  # windows that overlap the quarter
    assert for_one[:half, :half].max() == for_one.max() > 0
    assert np.abs(elsewhere).max() < 1e-6
    np.testing.assert_allclose(for_one, -for_zero, atol=1e-6)


def test_heatmap_includes_the_mirror_image_with_flip_at_test(tiny_params) -> None:
    """With `flip_at_test`, the model also uses that quarter of the mirror image."""
    config = candidate_config(tiny_params, classes=["a", "b"]).model_copy(update={"flips": True})
    candidate = Candidate(config, Brightness(), None)
    image = np.random.default_rng(0).integers(0, 60, (1, 1, 64, 64), dtype=np.uint8)
    image[0, 0, 12:22, 42:52] = 250  # in the region used only in the mirror image
    heatmap, mirrored = (heatmaps(candidate, one, one, np.array([1]))[0] for one in (image, np.flip(image, -1).copy()))
    assert heatmap[:, GRID // 2 :].max() == heatmap.max() > 0
    np.testing.assert_allclose(heatmap, mirrored[:, ::-1], atol=1e-6)


def test_heatmap_of_each_prediction_is_saved_at_the_path_of_its_image(tmp_path, tiny_params, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    candidate = Candidate(candidate_config(tiny_params, classes=["a", "b"]), Brightness(), None)
    pixels = np.random.default_rng(0).integers(0, 255, (1, 32, 32), dtype=np.uint8)
    names = ["study/scan 1.dcm#3", "study_scan_1.dcm#3", "../other/1.png", str(tmp_path / "in/1.png"), "bad.png"]
    images = [*[ModelInput(pixels, pixels, read_array(pixels[0]))] * 4, "refused"]
    rows = predict_batch(candidate, images, DecisionPolicy(abstain_below=0.5)).assign(image=names)
    save_heatmaps(candidate, images, rows, tmp_path / "maps")
    found = {str(file.relative_to("maps")) for file in Path("maps").rglob("*.*")}
    assert found == {"study/scan 1.dcm#3.png", "study_scan_1.dcm#3.png", "__/other/1.png.png", "in/1.png.png"}
