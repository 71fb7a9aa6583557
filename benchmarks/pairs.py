"""Pairs a second: partners drawn from an index and a memory map, against image files opened while sampling."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchmarks.measure import Result, Setting, interleaved, speed
from benchmarks.networks import CPU
from dcube.artifacts.layout import DATASET, MANIFEST
from dcube.artifacts.schemas.dataset import DatasetInfo, InputSpec
from dcube.artifacts.tables import PREPARED_MANIFEST
from dcube.config.schema import Diffusion
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.training import PairBatches

CLASSES, RATIO = ["benign", "malignant", "normal"], (1, 1, 4)  # the paper's pancreas set
IMAGES = 1200
PLAIN_BATCH, OUR_BATCH, OUR_BATCHES = 16, 64, 10


def benchmark(setting: Setting) -> list[Result]:
    results = []
    for size in setting.sizes:
        with tempfile.TemporaryDirectory() as folder:
            images, labels = _images(size)
            plain = PlainPairs(_files(Path(folder), images), labels)
            dataset = _prepared(Path(folder), images, labels)
            ours = PairBatches(dataset, np.arange(IMAGES), Diffusion(batch_size=OUR_BATCH), CPU)
            timing = interleaved(
                lambda plain=plain: plain.batch(PLAIN_BATCH),
                lambda ours=ours: [ours.at(step) for step in range(OUR_BATCHES)],
                setting.repeats,
            )
        target = 60 if size >= 128 else None
        results.append(speed("pairs", f"{size} px", "pairs", (PLAIN_BATCH, OUR_BATCH * OUR_BATCHES), timing, target))
    return results


class PlainPairs:
    """As published: candidates are drawn until the label is as wished, each opened for its image and for its label."""

    def __init__(self, files: list[Path], labels: np.ndarray) -> None:
        self.files, self.labels = files, labels
        self.generator = np.random.default_rng(0)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[index]) as image:
            return torch.from_numpy(np.array(image.convert("L")))[None], int(self.labels[index])

    def pair(self) -> tuple[torch.Tensor, torch.Tensor, int, int]:
        first, first_label = self._candidate()
        wants_same = bool(self.generator.integers(2))
        while True:
            second, second_label = self._candidate()
            if (first_label == second_label) == wants_same:
                return first, second, first_label, second_label

    def _candidate(self) -> tuple[torch.Tensor, int]:
        index = int(self.generator.integers(len(self.files)))
        return self[index][0], self[index][1]

    def batch(self, size: int) -> list[torch.Tensor]:
        first, second, first_labels, second_labels = zip(*(self.pair() for _ in range(size)), strict=True)
        return [torch.stack(first), torch.stack(second), torch.tensor(first_labels), torch.tensor(second_labels)]


def _images(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey images that compress about as a slice does: smooth shapes and a little noise."""
    generator = np.random.default_rng(0)
    smooth = gaussian_filter(generator.normal(size=(IMAGES, size, size)), (0, size / 16, size / 16))
    images = 128 + 40 * smooth / smooth.std() + generator.normal(size=smooth.shape) * 3
    return np.clip(images, 0, 255).astype(np.uint8)[:, None], np.repeat([0, 1, 2], np.array(RATIO) * IMAGES // 6)


def _files(folder: Path, images: np.ndarray) -> list[Path]:
    files = [folder / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[0]).save(file)
    return files


def _prepared(folder: Path, images: np.ndarray, labels: np.ndarray) -> PreparedDataset:
    size = images.shape[-1]
    np.save(folder / f"images-{size}.npy", images)
    rows = [(i, f"{i}.png", CLASSES[label], "", "train", "") for i, label in enumerate(labels)]
    pd.DataFrame(rows, columns=list(PREPARED_MANIFEST.columns)).to_csv(folder / MANIFEST, index=False)
    DatasetInfo(
        name="benchmark", is_phantom=False, classes=CLASSES, counts={}, split_origin="generated", fingerprint="",
        input=InputSpec(channels=1, image_size=size, diffusion_image_size=size, fit="crop"),
    ).save(folder / DATASET)  # fmt: skip
    return PreparedDataset.load(folder)
