"""The layout `train/CLASS/…`, `val/CLASS/…`, `test/CLASS/…`, optionally with a folder `unlabelled`; or `CLASS/train/…`.

The names of splits are those of `SPLIT_NAMES`, in upper or lower case: `Training` is always a split, never a class.
"""

from pathlib import PurePosixPath

from dcube.config.schema import Data
from dcube.data.layouts.columns import SPLIT_NAMES
from dcube.data.layouts.folder_classes import labelling_hint, refuse_unlikely_classes
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.layouts.tables import is_unlabelled
from dcube.data.readers.stored_images import StoredImage
from dcube.data.readers.windows import window_of
from dcube.errors import DcubeError


def recognises(raw: RawFiles) -> bool:
    splits = {name for name in raw.top_folders if _split(name)}
    return (
        len({_split(name) for name in splits}) > 1 or (bool(splits) and splits == raw.top_folders) or _class_first(raw)
    )


def read_layout(raw: RawFiles, data: Data) -> RawDataset:
    """Take split and label from the first two folders of each image's path.

    Raises:
        DcubeError: if an image is in any other folder; the message names it.
    """
    class_first = _class_first(raw)
    raw.refuse_doubtful_masks(class_level=0 if class_first else 1)
    records = {image: _record(raw, image, class_first) for image in raw.images}
    refuse_unlikely_classes(raw, records)
    return RawDataset.of_stored_images("split folders", raw, records, window_of(data))


def _class_first(raw: RawFiles) -> bool:
    """Return whether each class folder contains split folders, with at least two different splits."""
    labelled = [PurePosixPath(image.file).parts for image in raw.images]
    second = {_split(parts[1]) if len(parts) > 2 else "" for parts in labelled if not is_unlabelled(parts[0])}
    return len(second) > 1 and "" not in second


def _split(folder: str) -> str:
    return SPLIT_NAMES.get(folder.strip().casefold(), "")


def _record(raw: RawFiles, image: StoredImage, class_first: bool) -> ImageRecord:
    first, *rest = PurePosixPath(image.file).parts
    if is_unlabelled(first):
        return ImageRecord(image.name, patient=image.patient)
    if class_first:
        return ImageRecord(image.name, first, image.patient, _split(rest[0]))
    if not _split(first) and any(map(_split, rest[:-1])):
        raise DcubeError(f"{raw.path / first} is beside the splits and holds splits: remove it if it is another copy")
    if not _split(first) or len(rest) < 2:
        raise DcubeError(
            f"{raw.path / image.file} is neither in train/CLASS/, val/CLASS/, test/CLASS/ nor in unlabelled/: "
            f"{labelling_hint(raw)}"
        )
    return ImageRecord(image.name, "" if is_unlabelled(rest[0]) else rest[0], image.patient, _split(first))
