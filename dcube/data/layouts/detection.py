"""Raw data sets as people download them: one reader a layout.

| layout | what stands in the folder |
| --- | --- |
| class folders | `CLASS/…/image.png` |
| split folders | `train/CLASS/…`, `val/CLASS/…` (or `validation`), `test/CLASS/…` |
| metadata | `metadata.csv` with the columns file, label, and perhaps patient_id and split |
| MedMNIST | one `.npz` with `train_images`, `train_labels`, `val_images` … |
| the paper's three sets | as their archives unpack: `radiography.py`, `breast_mri.py`, `pancreas_ct.py` |

In the first two, images in a folder `unlabelled` at the top have no label; in the third those with an empty label.
In these three an image is a plain picture, a DICOM file with all its frames, or a NIfTI volume with all its slices; a
row of `metadata.csv` names one of these, a folder of them (a series), or with `file#number` a single frame or slice.
"""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from dcube.config.schema import Data
from dcube.data.layouts import breast_mri, pancreas_ct, radiography
from dcube.data.layouts.listing import SPLIT_NAMES, visible_files
from dcube.data.layouts.medmnist import open_medmnist
from dcube.data.layouts.metadata import METADATA, read_metadata
from dcube.data.layouts.source import Record, Source
from dcube.data.readers.images import cropped
from dcube.data.readers.stored_images import KINDS, Picture, is_medical, is_picture, pictures_in, read_picture
from dcube.data.readers.windows import window_of
from dcube.errors import DcubeError

PUBLISHED = (radiography, breast_mri, pancreas_ct)  # a module for each of the paper's sets
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")


def open_source(path: Path, data: Data) -> Source:
    """Recognise the layout of a raw data set and list its images without decoding them.

    Raises:
        DcubeError: naming the file or folder that fits no layout.
    """
    source = _open_any(path, data)
    if data.window_center is not None and not source.identifying:
        raise DcubeError(
            f"data.window_center is for DICOM and NIfTI, and {path} holds plain pictures: set both values to null"
        )
    return source


def _open_any(path: Path, data: Data) -> Source:
    if path.is_file() and path.suffix.lower() != ".npz":
        raise DcubeError(f"{path} is neither a folder nor a MedMNIST .npz: give one of these")
    if not path.exists():
        raise DcubeError(f"{path} is missing: bring a data set there with `dcube data add NAME PATH`")
    if path.is_file():
        return _cropping(open_medmnist(path), data)
    for layout in PUBLISHED:
        if layout.recognises(path):
            return layout.open(path, data)
    files = visible_files(path)
    archives = [file for file in files if file.lower().endswith(".npz")]
    stored = [file for file in files if is_picture(path / file)]
    if len(archives) == 1 and not stored:
        return _cropping(open_medmnist(path / archives[0]), data)
    if not stored:
        raise DcubeError(f"{path} holds no images: put {', '.join(KINDS)} into class folders, or one .npz")
    return _cropping(_open_folder(path, files, stored, data), data)


def _cropping(source: Source, data: Data) -> Source:
    return replace(source, read=lambda i: cropped(source.read(i), data.crop))


def _open_folder(path: Path, files: list[str], stored: list[str], data: Data) -> Source:
    pictures = [picture for file in stored for picture in pictures_in(path, file)]
    used = {picture.file for picture in pictures}
    if METADATA in files:
        layout, records = "metadata", read_metadata(path / METADATA, pictures)
    elif "train" in (tops := {PurePosixPath(file).parts[0] for file in used}) and len(tops & set(SPLIT_NAMES)) > 1:
        layout, records = "split folders", {picture: _split_folder_record(path, picture) for picture in pictures}
    else:
        layout, records = "class folders", {picture: _class_folder_record(path, picture) for picture in pictures}
        _refuse_empty_folders(path, used)
    shown, window = list(records), window_of(data)
    return Source(
        layout,
        list(records.values()),
        lambda i: read_picture(path, shown[i], window),
        tuple(file for file in files if file not in used and file != METADATA),
        identifying=any(is_medical(path / file) for file in used),
    )


def _class_folder_record(folder: Path, picture: Picture) -> Record:
    first, *rest = PurePosixPath(picture.file).parts
    if not rest:
        raise DcubeError(
            f"{folder / picture.file} lies in no class folder: move it to {folder}/CLASS/ or add a {METADATA}"
        )
    return Record(picture.name, "" if first in UNLABELLED_FOLDERS else first, picture.patient)


def _split_folder_record(folder: Path, picture: Picture) -> Record:
    first, *rest = PurePosixPath(picture.file).parts
    if first in UNLABELLED_FOLDERS:
        return Record(picture.name, patient=picture.patient)
    if first not in SPLIT_NAMES or len(rest) < 2:
        raise DcubeError(
            f"{folder / picture.file} lies neither in train/CLASS/, val/CLASS/, test/CLASS/ nor in unlabelled/: move it"
        )
    return Record(picture.name, rest[0], picture.patient, SPLIT_NAMES[first])


def _refuse_empty_folders(folder: Path, used: set[str]) -> None:
    filled = {PurePosixPath(file).parts[0] for file in used}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and child.name not in filled and not re.match(r"\.|__", child.name):
            raise DcubeError(f"{child} holds no images: fill or remove this class folder")
