"""The COVID-19 Radiography Database, as unpacked from its archive (Chowdhury et al. 2020, Rahman et al. 2021).

    COVID/images/COVID-1.png …   COVID/masks/COVID-1.png …   COVID.metadata.xlsx
    Lung_Opacity/…   Normal/…   Viral Pneumonia/…

The folders are the classes. Masks and spreadsheets are not used.
"""

from pathlib import Path, PurePosixPath

from dcube.config.schema import Data
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import MASK, RawFiles
from dcube.data.readers.images import SUFFIXES, read_file
from dcube.errors import DcubeError

IMAGES, MASKS = "images", "masks"


def recognises(raw: RawFiles) -> bool:
    classes = set(_classes(raw.path))
    return bool(classes) and {PurePosixPath(file).parts[0] for file in raw.image_files} <= classes


def read_layout(raw: RawFiles, _: Data) -> RawDataset:
    """List the X-rays of every class.

    Raises:
        DcubeError: if a class has no images; the message names its folder.
    """
    records, ignored, masks = [], [], []
    for file in raw.files:
        parts = PurePosixPath(file).parts
        kind = parts[1] if len(parts) > 2 else ""
        if kind == IMAGES and PurePosixPath(file).suffix.lower() in SUFFIXES:
            records.append(ImageRecord(file, label=parts[0]))
        elif kind == MASKS:
            masks.append(file)
        else:
            ignored.append(file)
    empty = set(_classes(raw.path)) - {record.label for record in records}
    if empty:
        raise DcubeError(f"{raw.path / min(empty) / IMAGES} contains no images: unpack the whole archive")
    notes = (
        "The set names no patients: images of one person may be in several splits, and intervals are over images.",
        f"{len(masks)} lung masks are not used.",
    )
    return RawDataset(
        "COVID-19 Radiography",
        records,
        lambda i: read_file(raw.path / records[i].file),
        tuple(ignored),
        notes,
        left_out={MASK: tuple(masks)} if masks else {},
    )


def _classes(path: Path) -> list[str]:
    return [images.parent.name for images in path.glob(f"*/{IMAGES}") if (images.parent / MASKS).is_dir()]
