"""What an owner points at, as single images: files, DICOM series, NIfTI volumes, folders and archives of them."""

import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dcube.data.layouts.listing import visible_files
from dcube.data.readers.archives import unpack
from dcube.data.readers.images import RawImage
from dcube.data.readers.stored_images import Picture, is_picture, pictures_in, read_picture
from dcube.data.readers.windows import Window
from dcube.errors import DcubeError


@dataclass(frozen=True)
class Asked:
    """One image to be answered.

    Attributes:
        name: as its owner calls it: the path that was given, and `#number` for a frame or slice (from 0).
        folder, picture: where it is stored. The picture knows its patient, who is compared and never shown.
    """

    name: str
    folder: Path
    picture: Picture = field(repr=False)

    @property
    def patient(self) -> tuple[str, str]:
        """What belongs together: by DICOM's header; a volume is one patient; any other image stands for itself."""
        return ("patient", self.picture.patient) if self.picture.patient else ("image", self.name)

    def read(self, window: Window | None) -> RawImage:
        """Decode it, with a window for DICOM and NIfTI; raises `UnusableImageError`."""
        return read_picture(self.folder, self.picture, window)


@contextmanager
def asked_of(paths: Sequence[Path]) -> Iterator[tuple[list[Asked], list[str]]]:
    """Give all images of the paths, in the order of their names, and the files that hold none.

    Nothing is decoded yet. Archives are unpacked into a temporary folder, which ends with the block.

    Raises:
        DcubeError: a path does not exist, or nothing in it is an image.
    """
    with ExitStack() as temporary:
        images: list[Asked] = []
        others: list[str] = []
        for path in paths:
            found, ignored = _of_path(path, temporary)
            if not found:
                raise DcubeError(f"{path} holds no image: give pictures, DICOM, NIfTI, or folders or archives of them")
            images += found
            others += ignored
        yield images, others


def of_file(folder: Path, file: str, shown: str) -> list[Asked]:
    """The images of one file of a folder, which is called `shown`; none where it is of no kind that holds images."""
    if not is_picture(folder / file):
        return []
    return [Asked(replace(picture, file=shown).name, folder, picture) for picture in pictures_in(folder, file)]


def _of_path(path: Path, temporary: ExitStack) -> tuple[list[Asked], list[str]]:
    if path.is_dir():
        return _of_folder(path, str(path))
    if not path.is_file():
        raise DcubeError(f"{path} does not exist")
    if images := of_file(path.parent, path.name, str(path)):
        return images, []
    if zipfile.is_zipfile(path) or tarfile.is_tarfile(path):
        folder = Path(temporary.enter_context(tempfile.TemporaryDirectory(prefix="dcube-")))
        unpack(path, folder)
        return _of_folder(folder, str(path))
    return [], []


def _of_folder(folder: Path, name: str) -> tuple[list[Asked], list[str]]:
    found = {f"{name}/{file}": of_file(folder, file, f"{name}/{file}") for file in visible_files(folder)}
    return [image for images in found.values() for image in images], [file for file in found if not found[file]]
