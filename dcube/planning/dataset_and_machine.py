"""Facts for a plan: measurements of the data set and the machine."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dcube.artifacts.candidates import DCUBE, STAGES
from dcube.config.schema import Compute, Data
from dcube.data.inspection import InspectionReport, inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.readers.modes import is_coloured
from dcube.data.readers.raw_image import UnusableImageError
from dcube.engine.device import choose_device, computes_in_bfloat16
from dcube.errors import DcubeError
from dcube.stages.process.command import main_of

EXAMPLES = 64


@dataclass(frozen=True)
class DatasetFacts:
    """Facts about the data set.

    Attributes:
        report: the report of `dcube data check`.
        coloured: share of the example images that are in colour.
        cut_by_crop: largest share of an example's area that a centre crop would cut off.
        examples: number of example images.
        seconds: time to read every image.
    """

    report: InspectionReport
    coloured: float
    cut_by_crop: float
    examples: int
    seconds: float

    @property
    def classes(self) -> dict[str, int]:
        """Number of labelled training images of each class."""
        return self.report.planned["train"]

    @property
    def training_images(self) -> int:
        """Number of labelled training images after `prepare`."""
        return sum(self.classes.values())

    @property
    def images_of_stage_1(self) -> int:
        """Number of training images of stage 1, with and without labels."""
        return self.training_images + self.report.unlabelled

    def count(self, split: str) -> int:
        return sum(self.report.planned[split].values())

    @property
    def longer_side(self) -> float:
        """The larger of the median width and the median height, in pixels."""
        width, height = self.report.raw.width, self.report.raw.height
        return max(extent.median for extent in (width, height) if extent)


@dataclass(frozen=True)
class Machine:
    """Facts about the machine.

    Attributes:
        memory_gib: memory of a GPU, or of the machine without one.
        stage_seconds: CPU time in seconds that a training stage takes for its imports.
    """

    name: str
    gpus: int
    memory_gib: float
    bfloat16: bool
    stage_seconds: float

    def __str__(self) -> str:
        precision = "bfloat16" if self.bfloat16 else "float32"
        return f"{self.name}, {self.memory_gib:.0f} GiB, {precision}"


def dataset_facts(path: Path, data: Data) -> DatasetFacts:
    """Measure the data set: read every image once, and some examples again.

    Raises:
        DcubeError: if `prepare` would refuse the data set.
    """
    started = time.monotonic()
    report = inspect_dataset(path, data)
    seconds = time.monotonic() - started
    if report.problem:
        raise DcubeError(report.problem)
    started = time.monotonic()
    examples = _examples(path, data)
    decoding = (time.monotonic() - started) * report.images / len(examples)
    return DatasetFacts(
        report,
        coloured=float(np.mean([is_coloured(image) for image in examples])),
        cut_by_crop=max(1 - min(image.size) / max(image.size) for image in examples),
        examples=len(examples),
        seconds=max(seconds, decoding),  # `prepare` does not use the cache of scanned images
    )


def _examples(path: Path, data: Data) -> Sequence[Image.Image]:
    dataset = read_raw_dataset(path, data)
    chosen = np.unique(np.linspace(0, len(dataset.records) - 1, EXAMPLES).astype(int))
    images = []
    for row in chosen:
        try:
            images.append(dataset.read(int(row)).image)
        except UnusableImageError:  # a blank slice: `prepare` leaves it out
            continue
    return images


def machine_facts(compute: Compute) -> Machine:
    device = choose_device(compute)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        gpus, memory = torch.cuda.device_count(), properties.total_memory
        name = f"{gpus} × {properties.name}" if gpus > 1 else properties.name
    else:
        gpus, memory = 0, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        threads = torch.get_num_threads()
        name = f"{threads} CPU thread{'' if threads == 1 else 's'}"
    return Machine(name, gpus, memory / 2**30, computes_in_bfloat16(device, compute), stage_start_seconds())


def stage_start_seconds() -> float:
    """Return the CPU time of a stage's imports; wall time on a busy machine or a cold disk would be too high."""
    code = f"from {main_of.__module__} import main_of; main_of({STAGES[DCUBE]!r})"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
