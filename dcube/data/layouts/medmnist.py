"""MedMNIST archives (medmnist.com; Yang et al., Scientific Data 2023): six arrays in one `.npz`."""

import errno
import lzma
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcube.config.schema import Data
from dcube.data.layouts.columns import SPLIT_NAMES, is_patient_column
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.layouts.table_rows import table_rows
from dcube.data.readers.images import read_array
from dcube.data.readers.raw_image import RawImage
from dcube.errors import DcubeError, abbreviated

DAMAGED = (zipfile.BadZipFile, KeyError, ValueError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, struct.error)
SPLITS = {"train": "train", "val": "validation", "test": "test"}
SHORT = {name: split for split, name in SPLITS.items()}
IMAGES, LABELS = "images", "labels"
GROUPS, ANY_ID = ("group", "groups", "group_id", "group_ids"), "ids"  # also accepted as patients
UNUSED = "array that is not used"


def recognises(raw: RawFiles) -> bool:
    return raw.path.is_file() or (len(_archives(raw)) == 1 and not raw.image_files)


def read_layout(raw: RawFiles, _: Data) -> RawDataset:
    """List the images of `{train,val,test}_images` (n, h, w) or (n, h, w, 3), with `…_labels` (n,) or (n, 1).

    Patients are read from arrays called `…_patients`, `…_subject_ids`, `…_groups` or similarly (n,), if there are any.
    The arrays are unpacked into temporary files and memory-mapped, so that a set larger than memory can be read.

    Raises:
        DcubeError: if the archive is damaged, arrays are missing, images have depth, or an image has several labels.
    """
    path = raw.path if raw.path.is_file() else raw.path / _archives(raw)[0]
    names = class_names(path)
    images: list[np.ndarray] = []
    records: list[ImageRecord] = []
    locations: list[tuple[int, int]] = []
    members, arrays = _unpack(path)
    checked = {split: _check(path, split, arrays[split][IMAGES], arrays[split][LABELS]) for split in arrays}
    column, patients = _patients(path, arrays)
    for split, (split_images, labels) in checked.items():
        locations += [(len(images), row) for row in range(len(split_images))]
        records += [
            ImageRecord(f"{path.name}/{split}/{row:06d}", _label(names, label, path), patient, SPLITS[split])
            for row, (label, patient) in enumerate(zip(labels.tolist(), patients[split], strict=True))
        ]
        images.append(split_images)

    def read(i: int) -> RawImage:
        part, row = locations[i]
        return read_array(np.asarray(images[part][row]))

    others = tuple(file for file in raw.files if raw.path / file != path)
    if not column:
        _refuse_unread_patients(raw.path, others)
    used = {f"{split}_{name}.npy" for split in SPLITS for name in (IMAGES, LABELS, column)}
    unused = tuple(f"{path.name}/{member.removesuffix('.npy')}" for member in members if member not in used)
    return RawDataset("MedMNIST", records, read, others, archive=path, left_out={UNUSED: unused} if unused else {})


def _refuse_unread_patients(folder: Path, files: Sequence[str]) -> None:
    for file in files:
        people = [title for title in next(table_rows(folder / file), []) if is_patient_column(title)]
        if people:
            raise DcubeError(
                f"{folder / file}: its column {people[0]!r} names patients, and would not be used: write it into the "
                "archive as train_patients, val_patients and test_patients, or remove the table"
            )


def _archives(raw: RawFiles) -> list[str]:
    return [file for file in raw.files if file.lower().endswith(".npz")]


def class_names(path: Path) -> dict[int, str] | None:
    """Return label → class name if the file is named like a set of the collection, else None.

    Raises:
        DcubeError: if the set has several labels per image.
    """
    from medmnist import INFO

    info = INFO.get(re.sub(r"_\d+$", "", path.stem.lower()))
    if info is None:
        return None
    if info["task"].startswith("multi-label"):
        raise DcubeError(f"{path}: {path.stem} has several labels an image; choose a set with one")
    return {int(number): name for number, name in info["label"].items()}


def download(flag: str, folder: Path) -> None:
    """Download the set called `flag` of the collection to `folder/flag.npz` and verify its published checksum."""
    import medmnist

    if flag not in medmnist.INFO:
        raise DcubeError(f"{flag!r} is not a MedMNIST set: give a PATH, or one of {', '.join(medmnist.INFO)}")
    try:
        getattr(medmnist, medmnist.INFO[flag]["python_class"])(split="train", download=True, root=str(folder))
    except RuntimeError:
        address = medmnist.INFO[flag]["url"]
        raise DcubeError(f"{flag} could not be downloaded: fetch {address} and give the file as PATH") from None


def _unpack(path: Path) -> tuple[list[str], dict[str, dict[str, np.ndarray]]]:
    """Return the names of all arrays, and those of images, labels and perhaps patients by split and name (`images`, …).

    The arrays are memory-mapped. The temporary files are freed with the last mapping.
    """
    try:
        arrays: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
        with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if len(set(members)) < len(members):
                raise ValueError("it holds an array twice: save it again")
            for member in members:
                split, _, name = member.removesuffix(".npy").partition("_")
                if split not in SPLITS and split in SPLIT_NAMES and name in (IMAGES, LABELS):
                    raise ValueError(f"{split}_{name} would not be used: call it {SHORT[SPLIT_NAMES[split]]}_{name}")
                if split in SPLITS and (name in (IMAGES, LABELS) or _may_be_patients(name)):
                    arrays[split][name] = _map(archive, member, Path(temporary))
    except DAMAGED as error:
        raise DcubeError(
            f"{path} is not a readable MedMNIST archive: {abbreviated(str(error).splitlines(), 1)}"
        ) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a damaged zip directory points outside the file
            raise
        raise DcubeError(f"{path} is not a readable MedMNIST archive: it is damaged") from None
    if not any(IMAGES in of_split or LABELS in of_split for of_split in arrays.values()):
        found = ", ".join(sorted(members)) or "nothing"
        raise DcubeError(f"{path} is not a MedMNIST archive: it contains no train_images and train_labels, but {found}")
    arrays = {split: of_split for split, of_split in arrays.items() if of_split}
    for split, of_split in arrays.items():
        for name in (IMAGES, LABELS):
            if name not in of_split:
                raise DcubeError(f"{path} is not a readable MedMNIST archive: it holds no {split}_{name}")
    return members, arrays


def _may_be_patients(name: str) -> bool:
    return name in (*GROUPS, ANY_ID) or is_patient_column(name)


def _patients(path: Path, arrays: dict[str, dict[str, np.ndarray]]) -> tuple[str, dict[str, list[str]]]:
    """Return the name of the arrays with patients (empty if there are none), and each image's patient by split.

    Arrays called `…_ids` contain patients if several images share an id; otherwise the ids are those of images.
    """
    names = sorted({name for of_split in arrays.values() for name in of_split if _may_be_patients(name)})
    names.sort(key=lambda name: (name == ANY_ID, name in GROUPS))
    unknown = {split: [""] * len(of_split[IMAGES]) for split, of_split in arrays.items()}
    for name in names:
        found = {split: _texts(path, f"{split}_{name}", of_split, name) for split, of_split in arrays.items()}
        everyone = [patient for patients in found.values() for patient in patients]
        if name != ANY_ID or len(set(everyone)) < len(everyone):
            return name, found
    return "", unknown


def _texts(path: Path, title: str, of_split: dict[str, np.ndarray], name: str) -> list[str]:
    images = len(of_split[IMAGES])
    if name not in of_split:
        return [""] * images
    values = of_split[name]
    if values.size != images or values.dtype.kind not in "iuUSf":
        raise DcubeError(
            f"{path}: {title} has shape {values.shape} of {values.dtype}: expected a number or text for each of "
            f"{images} images, or no such array"
        )
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else f"{value:.15g}" for value in values.reshape(-1).tolist()]
    return [str(value).strip() for value in values.reshape(-1).tolist()]


def _map(archive: zipfile.ZipFile, name: str, folder: Path) -> np.ndarray:
    if archive.getinfo(name).file_size > shutil.disk_usage(folder).free:
        raise ValueError(f"{name} does not fit on the disk unpacked")
    with archive.open(name) as packed, (folder / name).open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    try:
        return np.load(folder / name, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy parses the header as Python, so any error is possible
        if "Python objects" in str(error):
            raise ValueError(f"{name} holds Python objects: store numbers or text, as .astype(str) gives") from error
        raise ValueError(f"{name} is not an array") from error


def _check(path: Path, split: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    where = f"{path}: {split}"
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise DcubeError(f"{where}_images has shape {images.shape}: expected (n, h, w) or (n, h, w, 3)")
    if not (images.dtype.kind == "f" or (images.dtype.kind == "u" and images.dtype.itemsize <= 2)):
        raise DcubeError(f"{where}_images holds {images.dtype}: store uint8, uint16 or floats in 0…1")
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DcubeError(f"{where}_labels holds {labels.shape[1]} labels an image: choose a set with one")
    if labels.size != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise DcubeError(f"{where}_labels has shape {labels.shape} of {labels.dtype}: expected {len(images)} integers")
    if labels.size and labels.min() < 0:
        raise DcubeError(f"{where}_labels holds {labels.min()}: number the classes from 0 and leave others out")
    return images, labels.reshape(-1)


def _label(names: dict[int, str] | None, number: int, path: Path) -> str:
    if names is None:
        return f"class_{number}"
    if number not in names:
        raise DcubeError(f"{path}: unknown label {number}: {path.stem} has {len(names)} classes")
    return names[number]
