"""A frozen encoder runs once for each image; training on its features equals training on the images."""

import copy
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from dcube.classifier.image_table import ImageTable, repeated_images
from dcube.classifier.networks.frozen import LinearProbe
from dcube.classifier.training import train_candidate
from dcube.config.schema import Compute, HeadSettings, Params
from dcube.data.prepared import PreparedDataset
from dcube.engine.checkpoints import Checkpoints


class Encoder(nn.Module):
    """(B, 3, 32, 32) to (B, 16), not symmetric; counts the images that it sees."""

    pretrained_cfg: ClassVar = {"mean": (0.5,) * 3, "std": (0.5,) * 3}

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 16), nn.Tanh())
        self.seen = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen += len(pixels)
        return self.layers(pixels)


class OnImages(nn.Module):
    """The same probe without `encode`, so that it is trained on images."""

    def __init__(self, probe: LinearProbe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, *inputs: object) -> Tensor:
        return self.probe(*inputs)


@pytest.fixture
def probe() -> LinearProbe:
    torch.manual_seed(0)
    return LinearProbe(Encoder(), features=16, classes=3)


def test_flipped_features_predict_like_the_flipped_image(probe: LinearProbe) -> None:
    images = torch.randint(0, 256, (5, 1, 32, 32), dtype=torch.uint8)
    features = probe.eval().encode(images)
    assert features.shape == (5, 16, 1, 2)
    for pixels, seen in ((images, features), (images.flip(-1), features.flip(-1))):
        torch.testing.assert_close(probe(seen), probe(pixels))


@pytest.mark.parametrize("extra", [False, True])
def test_training_on_features_equals_training_on_images(
    extra: bool, probe: LinearProbe, disc_dataset: PreparedDataset, tiny_params: Params, tmp_path: Path
) -> None:
    rows = disc_dataset.indices("train")
    repeated = repeated_images(disc_dataset, rows, disc_dataset.labels[rows][:7], 0) if extra else None
    train = ImageTable.of_rows(disc_dataset, rows, repeated)
    validation = ImageTable.of_split(disc_dataset, "validation")
    optimisation = tiny_params.classifier.optimisation.model_copy(update={"epochs": 4, "batch_size": 8})
    encoder, first = probe.encoder.network.network, copy.deepcopy(probe.state_dict())

    def trained(network: nn.Module, folder: Path) -> dict[str, Tensor]:
        probe.load_state_dict(first)
        settings = optimisation, HeadSettings(), Compute(precision="float32"), Checkpoints(folder, "key")
        return train_candidate(network, None, train, validation, *settings).weights

    encoder.seen = 0
    once = trained(probe, tmp_path / "once")
    assert encoder.seen == 2 * (len(train) + len(validation))
    again = trained(OnImages(probe), tmp_path / "again")
    for name, weights in once.items():
        torch.testing.assert_close(weights, again[f"probe.{name}"], rtol=1e-4, atol=1e-5)
