"""`prepare`, `dcube predict` and serving give the network the same bytes for the same raw files."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcube.artifacts.schemas.dataset import InputSpec
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.config.schema import Data
from dcube.data.preparing import prepare
from dcube.data.preprocessing import preprocess
from dcube.data.readers.images import read_array
from dcube.data.readers.raw_image import ConstantImageError, UnusableImageError
from dcube.inference.inputs import collect_images
from dcube.inference.prediction import predict
from dcube.inference.serving import ServedModel, encode_file
from tests.support.medical_files import dicom_file, nifti_file
from tests.support.raw_sets import noise, save

WINDOW = {"window_center": 40.0, "window_width": 400.0}


class RecordingCandidate:
    """Keeps the arrays that it is asked to predict on."""

    def __init__(self, spec: InputSpec) -> None:
        self.config = SimpleNamespace(input=spec, prior=[0.5, 0.5], params=SimpleNamespace(classifier=None))
        self.classes, self.uvit = ["ill", "well"], None
        self.seen: list[tuple[bytes, bytes]] = []

    def predict(self, images: np.ndarray, diffusion_images: np.ndarray) -> np.ndarray:
        self.seen += zip(map(bytes, images), map(bytes, diffusion_images), strict=True)
        return np.full((len(images), 2), 0.5)


def hounsfield(number: int) -> np.ndarray:
    return noise(number, (40, 52)).astype(np.int16) * 2 - 200


def png(file: Path, number: int) -> None:
    save(file.with_suffix(".png"), noise(number, (40, 52)))


def colour_png(file: Path, number: int) -> None:
    save(file.with_suffix(".png"), noise(number, (40, 52, 3)))


def deep_png(file: Path, number: int) -> None:
    save(file.with_suffix(".png"), noise(number, (40, 52)).astype(np.uint16) * 201)


def ct(file: Path, number: int) -> None:
    stored = (hounsfield(number) + 1024).astype(np.uint16)
    dicom_file(file.with_suffix(".dcm"), stored, RescaleSlope=1, RescaleIntercept=-1024, PatientID=f"P{number}")


def volume(file: Path, number: int) -> None:
    nifti_file(file.with_suffix(".nii.gz"), hounsfield(number)[..., None], "RAS", spacing=(1.0, 1.5, 2.0))


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (png, {}),
        (png, {"fit": "pad", "image_size": 24}),
        (colour_png, {"channels": 3, "crop": 36}),
        (colour_png, {"fit": "stretch"}),
        (deep_png, {}),
        (ct, WINDOW | {"crop": 32}),
        (ct, {}),
        (volume, WINDOW),
    ],
)
def test_prepare_predict_and_serving_give_the_network_the_same_bytes(
    tmp_path: Path, write: Callable[[Path, int], None], options: dict[str, Any]
) -> None:
    for number in range(12):
        write(tmp_path / "raw" / ("ill", "well")[number % 2] / f"{number}", number)
    data = Data(**({"image_size": 32, "diffusion_image_size": 24} | options))
    prepared = prepare(tmp_path / "raw", data, tmp_path / "prepared")
    arrays = prepared.images(data.image_size), prepared.images(data.diffusion_image_size)
    trained_on = sorted(zip(map(bytes, arrays[0]), map(bytes, arrays[1]), strict=True))

    terminal = RecordingCandidate(prepared.info.input)
    with collect_images([tmp_path / "raw"]) as (images, _):
        rows = predict(terminal, images, DecisionPolicy())  # type: ignore[arg-type]
    assert (rows["problem"] == "").all()

    served, model = RecordingCandidate(prepared.info.input), ServedModel()
    model.candidate, model.identity, model.policy = served, {}, DecisionPolicy()  # type: ignore[assignment]
    cells = [encode_file(file) for file in sorted((tmp_path / "raw").rglob("*")) if file.is_file()]
    model.predict(None, pd.DataFrame({"image": cells}))

    assert len(trained_on) == 12
    assert sorted(terminal.seen) == trained_on
    assert sorted(served.seen) == trained_on


def test_image_that_cannot_be_cropped_is_refused_with_the_reason() -> None:
    spec = InputSpec.of(Data(image_size=16, diffusion_image_size=8, crop=20))
    with pytest.raises(UnusableImageError, match="smaller than the crop of 20"):
        preprocess(read_array(noise(0, (19, 30))), spec)
    pixels = np.zeros((40, 40), np.uint8)
    pixels[0] = 9  # outside the crop
    with pytest.raises(ConstantImageError, match="constant within the square that fit: crop leaves"):
        preprocess(read_array(pixels), spec)
