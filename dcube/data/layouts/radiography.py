"""The COVID-19 Radiography Database as its archive unpacks (Chowdhury et al. 2020, Rahman et al. 2021).

    COVID/images/COVID-1.png …   COVID/masks/COVID-1.png …   COVID.metadata.xlsx
    Lung_Opacity/…   Normal/…   Viral Pneumonia/…

The folders are the classes. Masks and spreadsheets are left aside.
"""

from pathlib import Path, PurePosixPath

from dcube.config.schema import Data
from dcube.data.layouts.listing import visible_files
from dcube.data.layouts.source import Record, Source
from dcube.data.readers.images import SUFFIXES, cropped, read_file
from dcube.errors import DcubeError

IMAGES, MASKS = "images", "masks"


def recognises(path: Path) -> bool:
    return bool(_classes(path))


def open(path: Path, data: Data) -> Source:
    """List the X-rays of every class.

    Raises:
        DcubeError: naming the folder of a class without images.
    """
    records, ignored, masks = [], [], 0
    for file in visible_files(path):
        parts = PurePosixPath(file).parts
        kind = parts[1] if len(parts) > 2 else ""
        if kind == IMAGES and PurePosixPath(file).suffix.lower() in SUFFIXES:
            records.append(Record(file, label=parts[0]))
        elif kind == MASKS:
            masks += 1
        else:
            ignored.append(file)
    empty = set(_classes(path)) - {record.label for record in records}
    if empty:
        raise DcubeError(f"{path / min(empty) / IMAGES} holds no images: unpack the whole archive")
    notes = (
        "The set names no patients: pictures of one person may stand in several splits, and intervals are over images.",
        f"{masks} lung masks are not used.",
    )
    return Source(
        "COVID-19 Radiography",
        records,
        lambda i: cropped(read_file(path / records[i].file), data.crop),
        tuple(ignored),
        notes,
    )


def _classes(path: Path) -> list[str]:
    return [child.name for child in path.iterdir() if (child / IMAGES).is_dir() and (child / MASKS).is_dir()]
