"""The layout `train/CLASS/…`, `val/CLASS/…` (or `validation`), `test/CLASS/…`, perhaps with a folder `unlabelled`."""

from pathlib import Path, PurePosixPath

from dcube.data.layouts.class_folders import UNLABELLED_FOLDERS
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.layouts.tables import SPLIT_NAMES
from dcube.data.readers.stored_images import StoredImage
from dcube.data.readers.windows import Window
from dcube.errors import DcubeError


def recognises(raw: RawFiles) -> bool:
    return "train" in raw.top_folders and len(raw.top_folders & set(SPLIT_NAMES)) > 1


def read_layout(raw: RawFiles, window: Window | None) -> RawDataset:
    """Take split and label from the first two folders of each image's path.

    Raises:
        DcubeError: naming an image in any other place.
    """
    records = {image: _record(raw.path, image) for image in raw.images}
    return RawDataset.of_stored_images("split folders", raw, records, window)


def _record(folder: Path, image: StoredImage) -> ImageRecord:
    first, *rest = PurePosixPath(image.file).parts
    if first in UNLABELLED_FOLDERS:
        return ImageRecord(image.name, patient=image.patient)
    if first not in SPLIT_NAMES or len(rest) < 2:
        raise DcubeError(
            f"{folder / image.file} is neither in train/CLASS/, val/CLASS/, test/CLASS/ nor in unlabelled/: move it"
        )
    return ImageRecord(image.name, rest[0], image.patient, SPLIT_NAMES[first])
