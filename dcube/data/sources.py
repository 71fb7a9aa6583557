"""Raw data sets as people download them: one reader a layout.

| layout | what stands in the folder |
| --- | --- |
| class folders | `CLASS/…/image.png` |
| split folders | `train/CLASS/…`, `val/CLASS/…` (or `validation`), `test/CLASS/…` |
| metadata | `metadata.csv` with the columns file, label, and perhaps patient_id and split |
| MedMNIST | one `.npz` with `train_images`, `train_labels`, `val_images` … |

In the first two, images in a folder `unlabelled` at the top have no label; in the third those with an empty label.
"""

import difflib
import re
import unicodedata
from pathlib import Path, PurePosixPath

from dcube.config import Data
from dcube.data.listing import read_rows, visible_files
from dcube.data.medmnist import open_medmnist
from dcube.data.naming import some
from dcube.data.reading import SUFFIXES, read_file
from dcube.data.source import Record, Source
from dcube.errors import DcubeError

SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")
METADATA = "metadata.csv"


def open_source(path: Path, data: Data) -> Source:
    """Recognise the layout of a raw data set and list its images without decoding them.

    Raises:
        DcubeError: naming the file or folder that fits no layout.
    """
    if path.suffix.lower() == ".npz" and path.is_file():
        return open_medmnist(path)
    if path.is_file():
        raise DcubeError(f"{path} is neither a folder nor a MedMNIST .npz: give one of these")
    if not path.is_dir():
        raise DcubeError(f"{path} is missing: bring a data set there with `dcube data add NAME PATH`")
    files = visible_files(path)
    archives = [file for file in files if file.lower().endswith(".npz")]
    images = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
    if len(archives) == 1 and not images:
        return open_medmnist(path / archives[0])
    if not images:
        raise DcubeError(f"{path} holds no images: put {', '.join(sorted(SUFFIXES))} into class folders, or one .npz")
    ignored = tuple(file for file in files if file not in set(images) and file != METADATA)
    if METADATA in files:
        layout, records = "metadata", _read_metadata(path / METADATA, images)
    elif "train" in (tops := {PurePosixPath(file).parts[0] for file in images}) and len(tops & set(SPLIT_NAMES)) > 1:
        layout, records = "split folders", [_split_folder_record(path, file) for file in images]
    else:
        layout, records = "class folders", [_class_folder_record(path, file) for file in images]
        _refuse_empty_folders(path, records)
    return Source(layout, records, lambda i: read_file(path / records[i].file), ignored)


def _class_folder_record(folder: Path, file: str) -> Record:
    first, *rest = PurePosixPath(file).parts
    if not rest:
        raise DcubeError(f"{folder / file} lies in no class folder: move it to {folder}/CLASS/ or add a {METADATA}")
    return Record(file, label="" if first in UNLABELLED_FOLDERS else first)


def _split_folder_record(folder: Path, file: str) -> Record:
    first, *rest = PurePosixPath(file).parts
    if first in UNLABELLED_FOLDERS:
        return Record(file)
    if first not in SPLIT_NAMES or len(rest) < 2:
        raise DcubeError(
            f"{folder / file} lies neither in train/CLASS/, val/CLASS/, test/CLASS/ nor in unlabelled/: move it"
        )
    return Record(file, label=rest[0], split=SPLIT_NAMES[first])


def _refuse_empty_folders(folder: Path, records: list[Record]) -> None:
    used = {PurePosixPath(record.file).parts[0] for record in records}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and child.name not in used and not re.match(r"\.|__", child.name):
            raise DcubeError(f"{child} holds no images: fill or remove this class folder")


def _read_metadata(path: Path, images: list[str]) -> list[Record]:
    rows = read_rows(path, ("file", "label"))
    stored = {_normal(file): file for file in images}
    records: dict[str, Record] = {}
    for line, row in rows:
        file = stored.get(_normal(row["file"]))
        if file is None:
            raise DcubeError(f"{path} line {line}: there is no image {row['file']!r} below {path.parent}")
        if file in records:
            raise DcubeError(f"{path} line {line}: {file!r} is listed twice")
        split = row.get("split", "").lower()
        if split and split not in SPLIT_NAMES:
            raise DcubeError(f"{path} line {line}: unknown split {split!r}: use train, val or test")
        records[file] = Record(file, row["label"], row.get("patient_id", ""), SPLIT_NAMES.get(split, ""))
    unlisted = [file for file in images if file not in records]
    if unlisted:
        raise DcubeError(
            f"{path} does not list {some(unlisted)}: list them (unlabelled: an empty label) or remove them"
        )
    _refuse_unknown_labels(path, list(records.values()))
    return [records[file] for file in images]


def _refuse_unknown_labels(path: Path, records: list[Record]) -> None:
    """Where the images lie in folders named like their labels, a label without a folder is a slip of the pen."""
    folders = {parts[0] for record in records if len(parts := PurePosixPath(record.file).parts) > 1}
    if len(folders & {record.label for record in records}) < 2:
        return
    for record in records:
        if record.label and record.label not in folders:
            nearest = difflib.get_close_matches(record.label, folders, n=1)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            raise DcubeError(f"{path}: unknown label {record.label!r} of {record.file}{hint}: folders name the classes")


def _normal(file: str) -> str:
    """One spelling of accents: file systems differ in it."""
    return unicodedata.normalize("NFC", file)
