"""Small copies of the paper's three archives, with their names and nesting: from a zip to trained models."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dcube.config.loading import load_preset, params_from
from dcube.data.adding import add_dataset
from dcube.data.preparing import prepare
from tests.support import phantom_layouts as layouts
from tests.support.discs import TINY
from tests.support.phantom_layouts import SLICES
from tests.support.toy_chain import run_chain

PEOPLE = layouts.patients(4)
MEDICAL = {"window_center": 39.5, "window_width": 255.0}


def breast(folder: Path) -> int:
    """Study folders as NBIA's downloader names them; one patient has no segmentation and is not used in the paper."""
    layouts.breast(folder, PEOPLE, labels=False)
    for one in PEOPLE[1:]:
        study = next(folder.rglob(f"Breast_MRI_{one.number:03d}/*"))
        (study / "300.000000-Segmentation-98").mkdir()
        (study / "300.000000-Segmentation-98" / "1-1.dcm").write_bytes(b"DICM")
    return len(PEOPLE) - 1


def pancreas(folder: Path) -> int:
    """With macOS files as in the Decathlon's tar, and its test volumes without a class."""
    layouts.pancreas(folder, PEOPLE)
    for file in list(folder.rglob("pancreas_*.nii.gz")):
        (file.parent / f"._{file.name}").write_bytes(b"\0\5\x16\7")
    shutil.copytree(folder / "Task07_Pancreas" / "imagesTr", folder / "Task07_Pancreas" / "imagesTs")
    return len(PEOPLE)


def covid_radiography(folder: Path) -> int:
    layouts.radiography(folder / "COVID-19_Radiography_Dataset" / "COVID-19_Radiography_Dataset", PEOPLE)
    return len(PEOPLE)


@pytest.mark.slow
@pytest.mark.parametrize("write", [breast, pancreas, covid_radiography])
def test_archive_is_added_prepared_and_trained_on(write: Callable[[Path], int], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))
    patients = write(tmp_path / "unpacked" / "archive")
    archive = Path(shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "unpacked"))
    small = {"image_size": 32, "diffusion_image_size": 16, "near_duplicates": False}
    own = load_preset(write.__name__).data.model_dump(include={"name", "patients", "test_fraction"})
    window = {} if write is covid_radiography else MEDICAL
    params = params_from(
        TINY
        | {
            "data": own | small | window,
            "diffusion": TINY["diffusion"] | {"epochs": 0.5, "width": 16},
            "classifier": TINY["classifier"] | {"epochs": 0.5},
            "baseline": TINY["baseline"] | {"epochs": 0.5, "method": "test_resnet"},
            "fid": TINY["fid"] | {"samples": 6, "sampling_steps": 2},
            "features": {"keep": 2, "images": 4},
            "synthesis": {"sampling_steps": 2, "maximum": 5},
            "probe": {"labels": []},
        },
        "archive",
    )
    report = add_dataset(params.data, archive, tmp_path / "data" / write.__name__)
    assert report.images == patients * SLICES and not report.problem
    dataset = prepare(tmp_path / "data" / write.__name__, params.data, tmp_path / "prepared")
    assert len(dataset.manifest) == patients * SLICES and set(dataset.manifest["split"]) == {
        "train",
        "validation",
        "test",
    }
    run_chain(params, dataset, tmp_path / "run", tmp_path / "cache")
