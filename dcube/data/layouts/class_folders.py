"""The layout `CLASS/…/image.png`. Images below a top folder `unlabelled` have no label."""

import re
from pathlib import Path, PurePosixPath

from dcube.data.layouts.metadata import METADATA
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.readers.stored_images import StoredImage
from dcube.data.readers.windows import Window
from dcube.errors import DcubeError

UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")


def recognises(raw: RawFiles) -> bool:
    return bool(raw.image_files)


def read_layout(raw: RawFiles, window: Window | None) -> RawDataset:
    """Label each image by the first folder of its path.

    Raises:
        DcubeError: naming an image outside of all class folders, or a class folder without images.
    """
    records = {image: _record(raw.path, image) for image in raw.images}
    _refuse_empty_folders(raw)
    return RawDataset.of_stored_images("class folders", raw, records, window)


def _record(folder: Path, image: StoredImage) -> ImageRecord:
    first, *rest = PurePosixPath(image.file).parts
    if not rest:
        raise DcubeError(
            f"{folder / image.file} is not in a class folder: move it to {folder}/CLASS/ or add a {METADATA}"
        )
    return ImageRecord(image.name, "" if first in UNLABELLED_FOLDERS else first, image.patient)


def _refuse_empty_folders(raw: RawFiles) -> None:
    for child in sorted(raw.path.iterdir()):
        if child.is_dir() and child.name not in raw.top_folders and not re.match(r"\.|__", child.name):
            raise DcubeError(f"{child} holds no images: fill or remove this class folder")
