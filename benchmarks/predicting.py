"""Images answered a second by `dcube predict`'s own function, against a plain loop that asks one image at a time."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Result, Setting, interleaved, speed
from dcube.artifacts.layout import MODELS
from dcube.classifier.candidate import Candidate, load_candidate
from dcube.data.prepared import PreparedDataset
from dcube.data.preprocessing import to_square
from dcube.data.readers.images import read_file
from dcube.inference.inputs import collect_images
from dcube.inference.prediction import predict

IMAGES = 128


def benchmark(setting: Setting) -> list[Result]:
    """D-Cube as the working copy has trained it, on images of its data set."""
    candidate = load_candidate(MODELS / "dcube", torch.device("cpu"))
    dataset = PreparedDataset.load(setting.prepared)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, pixels in enumerate(dataset.images(dataset.image_size)[:IMAGES]):
            Image.fromarray(pixels.transpose(1, 2, 0).squeeze()).save(folder / f"{number:03d}.png")
        with collect_images([folder]) as (images, _):
            timing = interleaved(
                lambda: _one_by_one(candidate, folder), lambda: predict(candidate, images, 0.0), setting.repeats
            )
        count = len(images)
    remark = "ours also asks at three noise levels how far the answer can be trusted"
    size = f"{dataset.image_size} px, {dataset.name}"
    return [speed("predict", size, "images", (count, count), timing, remark=remark)]


def _one_by_one(candidate: Candidate, folder: Path) -> list[np.ndarray]:
    sizes, channels, fit = (candidate.image_size, candidate.diffusion_image_size), candidate.channels, "crop"
    found = []
    for file in sorted(folder.iterdir()):
        picture = read_file(file).image
        found.append(candidate.predict(*(to_square(picture, size, channels, fit)[None] for size in sizes)))
    return found
