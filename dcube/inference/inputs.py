"""Single images from the paths that a user gives: files, DICOM series, NIfTI volumes, folders and archives of them."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dcube.data.layouts.raw_files import RawFiles, describe_left_out, inner_folder
from dcube.data.readers.archives import is_archive, unpack
from dcube.data.readers.raw_image import RawImage
from dcube.data.readers.stored_images import StoredImage, list_stored_images, read_stored_image
from dcube.data.readers.walking import refuse_special
from dcube.data.readers.windows import Window
from dcube.errors import DcubeError


@dataclass(frozen=True)
class InputImage:
    """One image to predict on.

    Attributes:
        name: path as the user gave it, followed by `#number` (from 0) for a frame or slice.
        folder, stored: location of the image. `stored` contains the patient's id, which is compared but never shown.
    """

    name: str
    folder: Path
    stored: StoredImage = field(repr=False)

    @property
    def patient(self) -> tuple[str, str]:
        """Key of the patient: from the DICOM header, or the file for a volume; any other image is its own patient."""
        if self.stored.patient == self.stored.file:  # files of two folders may have the same name
            return "file", self.name.rpartition("#")[0]
        return ("patient", self.stored.patient) if self.stored.patient else ("image", self.name)

    def read(self, window: Window | None) -> RawImage:
        """Decode the image, with a window for DICOM and NIfTI; raises `UnusableImageError`."""
        return read_stored_image(self.folder, self.stored, window)


@contextmanager
def collect_images(paths: Sequence[Path]) -> Iterator[tuple[list[InputImage], dict[str, list[str]]]]:
    """Yield all images of the paths, and the files that are left out as reason → file names.

    Nothing is decoded yet. Archives are unpacked into a temporary folder, which is removed at the end of the block.

    Raises:
        DcubeError: if no path is given, or if a path does not exist or contains no image.
    """
    if not paths:
        raise DcubeError("no path is given: give images, DICOM, NIfTI, or folders or archives of them")
    with ExitStack() as temporary:
        images: list[InputImage] = []
        left_out: dict[str, list[str]] = {}
        for path in paths:
            found, others = _in_path(path, temporary)
            if not found:
                held = describe_left_out(others)
                raise DcubeError(
                    f"{path} contains no image{held}: give images, DICOM, NIfTI, or folders or archives of them"
                )
            images += found
            for why, files in others.items():
                left_out.setdefault(why, []).extend(files)
        yield images, left_out


def images_in_file(folder: Path, file: str, name: str) -> list[InputImage]:
    """Return the images of `folder/file`, shown to users as `name`; the list is empty if the file is not an image."""
    found = list_stored_images(folder, file)
    return [] if isinstance(found, str) else [_as_input(folder, stored, name) for stored in found]


def _in_path(path: Path, temporary: ExitStack) -> tuple[list[InputImage], dict[str, list[str]]]:
    refuse_special(path)
    if path.is_dir():
        return _in_folder(path, str(path))
    if images := images_in_file(path.parent, path.name, str(path)):
        return images, {}
    if is_archive(path):
        folder = Path(temporary.enter_context(tempfile.TemporaryDirectory(prefix="dcube-")))
        unpack(path, folder)
        return _in_folder(inner_folder(folder), str(path))
    return [], {}


def _in_folder(folder: Path, name: str) -> tuple[list[InputImage], dict[str, list[str]]]:
    raw = RawFiles(folder)
    images = [_as_input(folder, stored, f"{name}/{stored.file}") for stored in raw.images]
    left_out = raw.left_out({image.file for image in raw.images})
    return images, {why: [f"{name}/{file}" for file in files] for why, files in left_out.items()}


def _as_input(folder: Path, stored: StoredImage, name: str) -> InputImage:
    return InputImage(replace(stored, file=name).name, folder, stored)
