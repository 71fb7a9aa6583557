"""Several NIfTI volumes of one case: its sequences are no patients of their own."""

from pathlib import Path

import numpy as np
import pytest

from dcube.config.schema import Data
from dcube.data.adding import add_dataset
from dcube.data.inspection import inspect_dataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.medical_files import nifti_file
from tests.support.raw_sets import write_metadata

PLAIN = Data(name="brains", image_size=16, diffusion_image_size=16, window_center=100, window_width=200)
BRATS = ("flair", "t1", "t1ce", "t2", "seg")
SEVERAL = "8 cases have volumes of several sequences or views"
MIXED = "would count as a patient of its own: keep one sequence, or give patient_id in metadata.csv"

pytestmark = pytest.mark.usefixtures("own_salt")


def volumes(raw: Path, pattern: str, sequences: tuple[str, ...], cases: int = 8) -> Path:
    """Write a volume of two slices for each sequence of each case; `{grade}` in the pattern is HGG or LGG."""
    rng = np.random.default_rng(0)
    for case in range(cases):
        for sequence in sequences:
            file = raw / pattern.format(case=case, s=sequence, grade=("HGG", "LGG")[case % 2])
            file.parent.mkdir(parents=True, exist_ok=True)
            nifti_file(file, rng.integers(0, 3 if sequence == "seg" else 200, (9, 9, 2)).astype(np.int16))
    return raw


@pytest.mark.parametrize(
    ("pattern", "sequences"),
    [
        ("{grade}/Brats18_{case:03d}_1/Brats18_{case:03d}_1_{s}.nii.gz", BRATS),
        ("{grade}/BraTS-GLI-{case:05d}-000/BraTS-GLI-{case:05d}-000-{s}.nii.gz", ("t1c", "t1n", "t2f", "t2w")),
        ("{grade}/case_{case:03d}_{s}.nii.gz", ("0000", "0001")),
        ("{grade}/sub-{case:02d}/anat/sub-{case:02d}_{s}.nii.gz", ("T1w", "T2w")),
        ("{grade}/{case:02d}/{s}.nii", ("FLAIR", "DWI")),
        ("{grade}/{s}/{case:02d}.nii", ("arterial", "venous")),
        ("IXI-{s}/IXI{case:03d}-Guys-0828-{s}.nii.gz", ("T1", "T2", "PD")),
    ],
    ids=["BraTS 2018", "BraTS 2023", "nnU-Net", "BIDS", "a folder a case", "a folder a phase", "IXI"],
)
def test_sequences_of_a_case_are_refused_as_patients(pattern, sequences, tmp_path):
    raw = volumes(tmp_path / "raw", pattern, sequences)
    for read in (inspect_dataset, lambda raw, data: add_dataset(data, raw, tmp_path / "data" / "brains")):
        with pytest.raises(DcubeError) as refusal:
            read(raw, PLAIN)
        assert "8 cases have volumes of several sequences or views" in str(refusal.value) and MIXED in str(
            refusal.value
        )
    with pytest.raises(DcubeError, match="data check"):
        prepare(raw, PLAIN, tmp_path / "prepared")


def test_sequences_whose_patients_are_given_are_used_and_kept_in_one_split(tmp_path):
    raw = volumes(tmp_path / "raw", "c{case}_{s}.nii", ("t1", "t2"))
    rows = [
        {"file": file.name, "label": ("ill", "well")[int(file.name[1]) % 2], "patient_id": file.name[:2]}
        for file in sorted(raw.iterdir())
    ]
    dataset = prepare(write_metadata(raw, rows), PLAIN, tmp_path / "prepared")
    assert len(dataset.manifest) == 32 and dataset.info.patients == 8
    assert (dataset.manifest.groupby("patient")["split"].nunique() == 1).all()


@pytest.mark.parametrize("pattern", ["{grade}/{case:03d}_{s}.nii", "{grade}/p{case}/{case:03d}_{s}.nii.gz"])
def test_one_sequence_is_used_and_its_segmentation_left_out(pattern, tmp_path):
    report = inspect_dataset(volumes(tmp_path / "raw", pattern, ("flair", "seg")), PLAIN)
    assert report.images == 16 and report.patients == 8 and not report.problem
    assert {why: len(files) for why, files in report.left_out.items()} == {"mask or thumbnail of an image": 8}


@pytest.mark.parametrize("names", ["{grade}/case_{case:03d}.nii", "{grade}/{case}_1.nii", "T{case}/scan.nii.gz"])
def test_other_numbers_at_the_end_are_no_sequences(names, tmp_path):
    raw = volumes(tmp_path / "raw", names, ("",), cases=4)
    assert inspect_dataset(raw, PLAIN).images == 8
