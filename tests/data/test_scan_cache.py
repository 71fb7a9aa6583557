"""A second check of unchanged files decodes nothing and reports the same; every change is noticed."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcube.config.schema import Data
from dcube.data import file_cache, inspection
from dcube.data.checks.clinical import HeaderSummary
from dcube.data.inspection import inspect_dataset
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.readers.raw_image import RawImage
from dcube.runtime.settings import read_settings
from tests.support import phantom_layouts as layouts
from tests.support.medical_files import RAMP, dicom_file
from tests.support.raw_sets import class_folders, medmnist_file, noise, save

PLAIN = Data(image_size=16, diffusion_image_size=16)
MEDICAL = Data(image_size=16, diffusion_image_size=16, crop=40, **layouts.WINDOW)
AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    file = tmp_path / "cache" / "scans.sqlite"
    monkeypatch.setenv("DCUBE_SCAN_CACHE", str(file))
    return file


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Files of the images that are decoded from now on."""
    seen: list[str] = []
    opened = inspection.read_raw_dataset

    def counting(raw: Path, data: Data) -> RawDataset:
        source = opened(raw, data)

        def read(i: int) -> RawImage:
            seen.append(source.records[i].file)
            return source.read(i)

        return replace(source, read=read)

    monkeypatch.setattr(inspection, "read_raw_dataset", counting)
    return seen


@pytest.fixture
def settled(monkeypatch) -> None:
    """Files that were just written count as old."""
    monkeypatch.setattr(file_cache, "UNSETTLED_SECONDS", 0)


def test_files_with_a_number_sign_in_their_names_are_cached(tmp_path: Path, settled: None, read: list[str]) -> None:
    for label in ("ill", "well"):
        for number in range(3):
            dicom_file(tmp_path / "raw" / label / f"IM#{number}", np.roll(RAMP, number + 9 * (label == "ill")))
            save(tmp_path / "raw" / label / f"case#{number}.png", noise(number + 9 * (label == "ill")))
        dicom_file(tmp_path / "raw" / label / "IM", np.roll(RAMP, 5 + 9 * (label == "ill")))
    first, seen = inspect_dataset(tmp_path / "raw", PLAIN), len(read)
    assert seen == 14
    assert inspect_dataset(tmp_path / "raw", PLAIN) == first and len(read) == seen
    dicom_file(tmp_path / "raw" / "ill" / "IM#1", np.roll(RAMP, 100))
    inspect_dataset(tmp_path / "raw", PLAIN)
    assert read[seen:] == ["ill/IM#1"]


def test_unchanged_images_are_not_decoded_again(tmp_path: Path, settled: None, read: list[str]) -> None:
    raw = class_folders(tmp_path / "around" / "raw")
    save(raw / "ill" / "00 copy.png", noise(0))
    (raw / "ill" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    first = inspect_dataset(tmp_path / "around", PLAIN)
    assert len(read) == 22 and first.duplicates
    read.clear()
    assert inspect_dataset(tmp_path / "around", PLAIN) == first and read == ["ill/broken.png"]
    read.clear()
    moved = raw.rename(tmp_path / "moved")  # the files keep their inodes
    assert inspect_dataset(moved, PLAIN).duplicate_files == first.duplicate_files
    assert read == ["ill/broken.png"]
    read.clear()
    inspect_dataset(moved, PLAIN.model_copy(update={"image_size": 24}))
    assert len(read) == 22


def test_unchanged_npz_is_not_decoded_again(tmp_path: Path, settled: None, read: list[str]) -> None:
    raw = medmnist_file(tmp_path / "set.npz")
    first = inspect_dataset(raw, PLAIN)
    assert len(read) == 24
    read.clear()
    assert inspect_dataset(raw, PLAIN) == first and not read
    assert inspect_dataset(tmp_path, PLAIN).raw == first.raw and not read  # the folder that holds it
    medmnist_file(raw, train_images=np.stack([noise(500 + i, (28, 28)) for i in range(8)]))
    assert inspect_dataset(raw, PLAIN) != first and len(read) == 24


def test_unchanged_dicom_headers_are_not_read_again(tmp_path: Path, settled: None, cache: Path, monkeypatch) -> None:
    """The cache contains no patient name."""
    summarised: list[Path] = []
    of_file = HeaderSummary.of_file
    monkeypatch.setattr(HeaderSummary, "of_file", lambda path: summarised.append(path) or of_file(path))
    raw = tmp_path / "around" / "raw"
    for i in range(10):
        tags = {"PatientID": f"Doe-{i}", "PatientName": "Doe^Jane", "PixelSpacing": [0.5 + i / 10, 0.7]}
        dicom_file(raw / ("ill", "well")[i % 2] / f"{i}.dcm", np.roll(RAMP, 40 * i), **tags)
    (raw / "ill" / "none.dcm").write_bytes(b"not DICOM")
    first = inspect_dataset(tmp_path / "around", PLAIN)
    assert first.clinical and first.clinical.identifying == {"PatientID": 10, "PatientName": 10}
    assert first.clinical.kinds == {"DICOM": 10, "unreadable": 1} and first.clinical.spacing == (0.5, 1.4)
    assert len(summarised) == 11
    summarised.clear()
    assert inspect_dataset(tmp_path / "around", PLAIN) == first
    assert [path.name for path in summarised] == ["none.dcm"]
    summarised.clear()
    dicom_file(raw / "ill" / "0.dcm", RAMP, PatientID="Doe-0")
    changed = inspect_dataset(raw, PLAIN).clinical
    assert changed and changed.identifying == {"PatientID": 10, "PatientName": 9}
    assert {path.name for path in summarised} == {"none.dcm", "0.dcm"}
    assert b"Doe" not in cache.read_bytes()


def test_refused_images_are_read_again(tmp_path: Path, settled: None, monkeypatch) -> None:
    """The user may have raised the limit, as the error advises."""
    raw = class_folders(tmp_path / "raw", images=4)
    monkeypatch.setattr("dcube.data.readers.raw_image.limits", read_settings)
    monkeypatch.setenv("DCUBE_MAX_MEGAPIXELS", "0.0001")
    assert "DCUBE_MAX_MEGAPIXELS" in inspect_dataset(raw, PLAIN).problem
    monkeypatch.delenv("DCUBE_MAX_MEGAPIXELS")
    assert "cannot be used" not in inspect_dataset(raw, PLAIN).problem


@pytest.mark.parametrize("change", ["content", "content and its times", "new inode"])
def test_changed_image_is_decoded_again(tmp_path: Path, settled: None, read: list[str], change: str) -> None:
    raw = class_folders(tmp_path / "raw")
    file, other = raw / "ill" / "03.png", tmp_path / "other.png"
    os.utime(file, (AGO, AGO))
    inspect_dataset(raw, PLAIN)
    read.clear()
    if change == "new inode":  # same size and time, as when an archive is unpacked again
        other.write_bytes(file.read_bytes())
        os.utime(other, (AGO, AGO))
        other.rename(file)
    else:
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content)
        if change == "content and its times":
            os.utime(file, (AGO, AGO))
    inspect_dataset(raw, PLAIN)
    assert read == ["ill/03.png"]


def test_files_just_written_are_not_cached(tmp_path: Path, read: list[str]) -> None:
    """They may change again within the resolution of the clock."""
    raw = class_folders(tmp_path / "raw", images=3)
    for _ in range(2):
        inspect_dataset(raw, PLAIN)
    assert len(read) == 12


def test_images_are_decoded_again_after_their_label_map_changed(tmp_path: Path, settled: None, read: list[str]) -> None:
    raw = layouts.pancreas(tmp_path / "raw", layouts.patients(1)[:1])
    inspect_dataset(raw, MEDICAL)
    assert len(read) == layouts.SLICES
    read.clear()
    label = next(raw.rglob("labelsTr/*"))
    mask = np.zeros((layouts.SLICES + 2, layouts.SIDE, layouts.SIDE), np.uint8)
    mask[1:-1, 60:70, 60:70] = 2
    layouts.write_volume(label, mask, ("R", "A", "S"))
    inspect_dataset(raw, MEDICAL)
    assert len(read) == layouts.SLICES


@pytest.mark.parametrize("damage", ["no database", "folder", "read-only place"])
def test_unusable_cache_does_not_change_the_report(
    tmp_path: Path, settled: None, cache: Path, monkeypatch, damage: str
) -> None:
    raw = class_folders(tmp_path / "raw", images=4)
    expected = inspect_dataset(raw, PLAIN)
    cache.unlink()
    if damage == "no database":
        cache.write_bytes(b"no database" * 1000)
    elif damage == "folder":
        cache.mkdir()
    else:
        monkeypatch.setenv("DCUBE_SCAN_CACHE", "/proc/none/scans.sqlite")
    assert inspect_dataset(raw, PLAIN) == expected
