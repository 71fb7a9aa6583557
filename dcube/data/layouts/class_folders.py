"""The layout `CLASS/…/image.png`. Images below a top-level folder `unlabelled` have no label."""

from pathlib import PurePosixPath

from dcube.config.schema import Data
from dcube.data.layouts.folder_classes import labelling_hint, refuse_unlikely_classes
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import RawFiles, describe_left_out, is_debris
from dcube.data.layouts.tables import is_unlabelled
from dcube.data.readers.stored_images import StoredImage
from dcube.data.readers.windows import window_of
from dcube.errors import DcubeError


def recognises(raw: RawFiles) -> bool:
    return bool(raw.image_files)


def read_layout(raw: RawFiles, data: Data) -> RawDataset:
    """Label each image by the first folder of its path.

    Raises:
        DcubeError: if an image is outside of all class folders, or a class folder has no images; the message names it.
    """
    raw.refuse_doubtful_masks(class_level=0)
    records = {image: _record(raw, image) for image in raw.images}
    refuse_unlikely_classes(raw, records)
    _refuse_empty_folders(raw)
    _refuse_classes_in_classes(raw)
    return RawDataset.of_stored_images("class folders", raw, records, window_of(data))


def _record(raw: RawFiles, image: StoredImage) -> ImageRecord:
    first, *rest = PurePosixPath(image.file).parts
    if not rest:
        raise DcubeError(f"{raw.path / image.file} is not in a class folder: {labelling_hint(raw)}")
    return ImageRecord(image.name, "" if is_unlabelled(first) else first, image.patient)


def _refuse_classes_in_classes(raw: RawFiles) -> None:
    """Refuse a class folder that contains folders of the other classes: archives may contain the whole set twice."""
    for image in raw.images:
        first, second, *_ = *PurePosixPath(image.file).parts, ""
        if second in raw.top_folders - {first}:
            raise DcubeError(
                f"{raw.path / first} is beside {second!r} and holds a folder of that name: move the classes out of it, "
                "or remove it where it is another copy"
            )


def _refuse_empty_folders(raw: RawFiles) -> None:
    """Refuse class folders without usable images: the class would be lost without a message."""
    for child in sorted(raw.path.iterdir()):
        if child.is_dir() and child.name not in raw.top_folders and not is_debris(child.name):
            inside = {
                why: [file for file in files if PurePosixPath(file).parts[0] == child.name]
                for why, files in raw.left_out(set()).items()
            }
            held = describe_left_out({why: files for why, files in inside.items() if files})
            raise DcubeError(f"{child} contains no images{held}: fill or remove this class folder")
