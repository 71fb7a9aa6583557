"""Statistics of batch normalisation under averaged weights."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from dcube.artifacts.candidates import SUB_FEATURES
from dcube.classifier.candidate import build_head
from dcube.classifier.image_table import ImageTable
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.frozen import LinearProbe
from dcube.classifier.training import train_candidate
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from dcube.engine.batch_norm import statistics_estimated_again
from dcube.engine.checkpoints import Checkpoints


def test_batch_norm_statistics_equal_those_of_torch() -> None:
    batches = [torch.randn(8, 3) * scale + 5 for scale in (1, 2, 4)]
    ours, torchs = (nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)) for _ in range(2))
    for model in (ours, torchs):
        model(torch.randn(8, 3))  # earlier statistics, which must have no effect
    update_bn(batches, torchs)
    with statistics_estimated_again(ours) as needed:
        for batch in batches:
            ours(batch)
    assert needed
    assert not ours.training
    assert ours[0].momentum == 0.1
    torch.testing.assert_close(ours.state_dict(), torchs.state_dict())


def test_dropout_stays_off_and_frozen_encoder_keeps_its_statistics() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))
    encoder.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # type: ignore[assignment]
    probe = LinearProbe(encoder, features=4, classes=2)
    images = torch.randint(0, 256, (6, 3, 2, 2), dtype=torch.uint8)
    with statistics_estimated_again(probe):
        probe(images)
    assert encoder[2].num_batches_tracked == 0
    torch.testing.assert_close(probe.probe.standardise.running_mean, probe.encoder(images).mean(dim=0))

    with statistics_estimated_again(nn.Sequential(dropout := nn.Dropout(0.5))) as needed:
        assert not dropout.training
    assert not needed


@pytest.mark.parametrize("epochs", [1, 3])
def test_short_training_ends_with_the_statistics_of_its_weights(
    epochs: int, tiny_params: Params, disc_dataset: PreparedDataset, tmp_path: Path
) -> None:
    """Running statistics lag behind in a short training, and the model then predicts one class for all images."""
    head = build_head(SUB_FEATURES, tiny_params.classifier, Task(3, 32, 1), None, load_pretrained=False)
    train, validation = (ImageTable.of_split(disc_dataset, split) for split in ("train", "validation"))
    settings = tiny_params.classifier.optimisation.model_copy(update={"epochs": epochs, "batch_size": len(train)})
    checkpoints = Checkpoints(tmp_path, "key")
    losses = tiny_params.classifier.head_settings
    result = train_candidate(head, None, train, validation, settings, losses, tiny_params.compute, checkpoints)

    head.load_state_dict(result.weights)
    first = next(layer for layer in head.eval().modules() if isinstance(layer, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.from_numpy(train.images[train.rows])
    with torch.inference_mode():
        head(images)
    torch.testing.assert_close(first.running_mean, seen[0].mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first.running_var, seen[0].var(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
