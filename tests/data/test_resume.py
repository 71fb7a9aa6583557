"""A killed `prepare` resumes where it stopped and gives the result of an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dcube.config.schema import Data
from dcube.data import preparing
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.preparing import prepare
from dcube.data.readers.raw_image import RawImage
from dcube.errors import DcubeError
from tests.support.raw_sets import class_folders, noise, save

IMAGES = 400
DATA = Data(image_size=24, diffusion_image_size=8, identifiers="kept")
SLOW = """
import sys, time
from dataclasses import replace
from pathlib import Path
from dcube.config.schema import Data
from dcube.data import preparing, scan

def opened_slow(raw, data):
    source = opened(raw, data)
    return replace(source, read=lambda i: (time.sleep(0.02), source.read(i))[1])

scan.IMAGES_AT_ONCE = 20
opened, preparing.read_private_dataset = preparing.read_private_dataset, opened_slow
preparing.prepare(Path(sys.argv[1]), Data.model_validate_json(sys.argv[3]), Path(sys.argv[2]))
"""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "raw", images=IMAGES // 2)


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """Indices of the images that are decoded from now on."""
    seen: list[int] = []
    opened = preparing.read_private_dataset

    def counting(raw: Path, data: Data) -> RawDataset:
        source = opened(raw, data)

        def read(i: int) -> RawImage:
            seen.append(i)
            return source.read(i)

        return replace(source, read=read)

    monkeypatch.setattr(preparing, "read_private_dataset", counting)
    return seen


def killed(raw: Path, out: Path, after: int) -> int:
    """Start `prepare`, kill it once `after` blocks are recorded, and return the number of recorded images."""
    notes = out.with_name(f".{out.name}.unfinished") / "summaries.jsonl"
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(raw), str(out), DATA.model_dump_json()])
    deadline = time.monotonic() + 60
    while not notes.exists() or notes.read_bytes().count(b"\n") < after:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return sum(len(json.loads(line)) for line in notes.read_text().splitlines())


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.slow
def test_prepare_killed_twice_gives_the_same_bytes(raw: Path, tmp_path: Path, read: list[int]) -> None:
    expected = content(prepare(raw, DATA, tmp_path / "whole").folder)
    out = tmp_path / "out"
    first, second = killed(raw, out, after=2), killed(raw, out, after=6)
    assert 40 <= first < second < IMAGES and not out.exists()
    with (tmp_path / ".out.unfinished" / "summaries.jsonl").open("a") as notes:
        notes.write('[{"sha256": "cut of')  # a line that the kill cut off
    read.clear()
    assert content(prepare(raw, DATA, out).folder) == expected
    assert sorted(read) == list(range(second, IMAGES))
    assert not (tmp_path / ".out.unfinished").exists()


@pytest.mark.parametrize("change", ["raw", "params"])
def test_progress_of_other_data_or_parameters_is_not_reused(
    raw: Path, tmp_path: Path, read: list[int], change: str
) -> None:
    killed(raw, tmp_path / "out", after=2)
    data = DATA
    if change == "raw":
        save(raw / "ill" / "00.png", noise(999_999))
    else:
        data = DATA.model_copy(update={"fit": "stretch"})
    prepare(raw, data, tmp_path / "out")
    assert sorted(read) == list(range(IMAGES))


def test_progress_is_reused_for_another_split_seed(raw: Path, tmp_path: Path, read: list[int]) -> None:
    noted = killed(raw, tmp_path / "out", after=2)
    prepare(raw, DATA.model_copy(update={"seed": 7}), tmp_path / "out")
    assert sorted(read) == list(range(noted, IMAGES))


def test_refused_prepare_leaves_no_files(raw: Path, tmp_path: Path) -> None:
    (raw / "ill" / "00.png").write_text("no image")
    with pytest.raises(DcubeError, match="1 of 400 images cannot be used"):
        prepare(raw, DATA, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
