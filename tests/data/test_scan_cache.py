"""A second check of the same files decodes nothing, finds the same, and sees every change."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcube.config.schema import Data
from dcube.data import inspection, scan_cache
from dcube.data.inspection import inspect_dataset
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.readers.raw_image import RawImage
from dcube.runtime.settings import read_settings
from tests.support import phantom_layouts as layouts
from tests.support.raw_sets import class_folders, noise, save

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
    """The images that are decoded from here on."""
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
    """Files of this moment count as old ones."""
    monkeypatch.setattr(scan_cache, "UNSETTLED_SECONDS", 0)


def test_what_has_not_changed_is_not_decoded_again(tmp_path: Path, settled: None, read: list[str]) -> None:
    raw = class_folders(tmp_path / "around" / "raw")
    save(raw / "ill" / "00 copy.png", noise(0))
    (raw / "ill" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    first = inspect_dataset(tmp_path / "around", PLAIN)
    assert len(read) == 22 and first.duplicates
    read.clear()
    assert inspect_dataset(tmp_path / "around", PLAIN) == first and read == ["ill/broken.png"]
    read.clear()
    moved = raw.rename(tmp_path / "moved")  # the folder; the files' inodes stay as they are
    assert inspect_dataset(moved, PLAIN).duplicate_files == first.duplicate_files
    assert read == ["ill/broken.png"]
    read.clear()
    inspect_dataset(moved, PLAIN.model_copy(update={"image_size": 24}))
    assert len(read) == 22


def test_what_was_refused_is_read_again(tmp_path: Path, settled: None, monkeypatch) -> None:
    """After the limit is raised, as the refusal advises."""
    raw = class_folders(tmp_path / "raw", images=4)
    monkeypatch.setattr("dcube.data.readers.raw_image.limits", read_settings)
    monkeypatch.setenv("DCUBE_MAX_MEGAPIXELS", "0.0001")
    assert "DCUBE_MAX_MEGAPIXELS" in inspect_dataset(raw, PLAIN).problem
    monkeypatch.delenv("DCUBE_MAX_MEGAPIXELS")
    assert "cannot be used" not in inspect_dataset(raw, PLAIN).problem


@pytest.mark.parametrize("change", ["content", "content and its times", "new inode"])
def test_what_has_changed_is_read_again(tmp_path: Path, settled: None, read: list[str], change: str) -> None:
    raw = class_folders(tmp_path / "raw")
    file, other = raw / "ill" / "03.png", tmp_path / "other.png"
    os.utime(file, (AGO, AGO))
    inspect_dataset(raw, PLAIN)
    read.clear()
    if change == "new inode":  # of the same size and time, as another unpacking of an archive makes them
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


def test_files_that_were_just_written_are_not_remembered(tmp_path: Path, read: list[str]) -> None:
    """They may change again in the same tick of the clock."""
    raw = class_folders(tmp_path / "raw", images=3)
    for _ in range(2):
        inspect_dataset(raw, PLAIN)
    assert len(read) == 12


def test_a_label_map_has_a_say_in_the_crop(tmp_path: Path, settled: None, read: list[str]) -> None:
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
def test_a_cache_that_cannot_be_used_changes_nothing(
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
