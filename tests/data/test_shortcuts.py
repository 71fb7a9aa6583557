"""Whether `dcube data check` notices that images are stored differently in each class."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcube.config.schema import Data
from dcube.data.inspection import inspect_dataset
from dcube.data.preparing import prepare
from dcube.data.shortcuts import balanced_accuracy

IMAGES = 40


def _warnings(folder: Path, name_of: Callable[[str, int], str], side_of: Callable[[str, int], int]) -> list[str]:
    rng = np.random.default_rng(0)
    for label in ("ill", "well"):
        for number in range(IMAGES):
            side = side_of(label, number)
            path = folder / label / name_of(label, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (side, 64), dtype=np.uint8)).save(path)
    report = inspect_dataset(folder, Data(name="set"))
    return [warning for warning in report.warnings if "tells the classes apart" in warning]


def test_file_format_that_tells_the_class_is_reported(tmp_path: Path) -> None:
    suffix = {"ill": "jpg", "well": "png"}
    (warning,) = _warnings(tmp_path, lambda label, number: f"{number}.{suffix[label]}", lambda *_: 64)
    assert "file format (balanced accuracy 1.00" in warning and "size" not in warning


def test_prepare_keeps_the_warning_without_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "salt"))
    suffix = {"ill": "jpg", "well": "png"}
    (warning,) = _warnings(tmp_path / "raw", lambda label, number: f"{number}.{suffix[label]}", lambda *_: 64)
    info = prepare(tmp_path / "raw", Data(name="set"), tmp_path / "prepared").info
    assert info.warnings == [warning] and "jpg" not in (tmp_path / "prepared" / "manifest.csv").read_text()


def test_number_sign_in_file_names_is_not_taken_for_a_frame(tmp_path: Path) -> None:
    assert not _warnings(tmp_path, lambda _, number: f"case#{number}.png", lambda *_: 64)


def test_image_size_that_tells_the_class_is_reported(tmp_path: Path) -> None:
    def side(label: str, number: int) -> int:
        return 64 + number + (36 if label == "ill" else 0)

    (warning,) = _warnings(tmp_path, lambda _, number: f"{number}.png", side)
    assert "size in pixels" in warning and "file format" not in warning


def test_formats_and_sizes_mixed_equally_in_all_classes_are_not_reported(tmp_path: Path) -> None:
    mixed = ("png", "jpg", "jpeg", "bmp")
    assert _warnings(tmp_path, lambda _, number: f"{number}.{mixed[number % 4]}", lambda _, n: 64 + n % 7) == []


@pytest.mark.parametrize("values", [3, 10, 200])
def test_balanced_accuracy_equals_a_leave_one_out_loop(values: int) -> None:
    rng = np.random.default_rng(values)
    labels, codes = rng.choice(3, 200, p=[0.6, 0.3, 0.1]), rng.integers(0, values, 200)
    codes = np.unique(codes, return_inverse=True)[1]
    right = np.zeros(200)  # fractions where classes tie
    for image in range(200):
        others = np.arange(200) != image
        alike = others & (codes == codes[image])
        shares = [(alike & (labels == label)).sum() / (others & (labels == label)).sum() for label in range(3)]
        best = np.flatnonzero(shares == np.max(shares))
        right[image] = np.mean(best == labels[image])
    recalls = [right[labels == label].mean() for label in range(3)]
    assert balanced_accuracy(labels, codes) == pytest.approx(np.mean(recalls), abs=1e-12)
