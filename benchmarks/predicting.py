"""Images predicted a second by `dcube predict`'s own function, against a plain loop over images and timesteps."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Result, Setting, interleaved, speed
from dcube.artifacts.layout import MODELS
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.classifier.candidate import Candidate, load_candidate, probabilities
from dcube.data.prepared import PreparedDataset
from dcube.data.preprocessing import to_square
from dcube.data.readers.images import read_file
from dcube.inference.inputs import collect_images
from dcube.inference.prediction import predict, spread_timesteps

IMAGES = 128


def benchmark(setting: Setting) -> list[Result]:
    """D-Cube as the working copy has trained it, on images of its data set."""
    candidate = load_candidate(MODELS / "dcube", torch.device("cpu"))
    dataset = PreparedDataset.load(setting.prepared)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = candidate.config.input.raw
        side = [int(extent.median) for extent in (raw.width, raw.height) if extent]  # others are refused
        for number, pixels in enumerate(dataset.images(dataset.image_size)[:IMAGES]):
            Image.fromarray(pixels.transpose(1, 2, 0).squeeze()).resize(side).save(folder / f"{number:03d}.png")
        with collect_images([folder]) as (images, _):
            run = partial(predict, candidate, images, DecisionPolicy())
            assert not run()["problem"].any()
            timing = interleaved(lambda: _one_by_one(candidate, folder), run, setting.repeats)
        count = len(images)
    remark = "both at the evaluation's timesteps and at those of `spread`"
    size = f"{dataset.image_size} px, {dataset.name}"
    return [speed("predict", size, "images", (count, count), timing, remark=remark)]


def _one_by_one(candidate: Candidate, folder: Path) -> list[np.ndarray]:
    """The same outputs: one image and one timestep at a time, each through the whole model."""
    sizes, channels, fit = (candidate.image_size, candidate.diffusion_image_size), candidate.channels, "crop"
    found = []
    for file in sorted(folder.iterdir()):
        picture = read_file(file).image
        image, small = (torch.from_numpy(to_square(picture, size, channels, fit)[None]) for size in sizes)
        for level in (*candidate.config.evaluation_timesteps, *spread_timesteps(candidate)):
            found.append(probabilities(candidate.head, candidate.uvit, image, small, [level]).numpy())
    return found
