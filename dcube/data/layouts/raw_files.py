"""The files of a raw data set, before its layout is known."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from dcube.data.readers.stored_images import StoredImage, is_image_file, is_medical, list_stored_images
from dcube.data.readers.walking import regular_files
from dcube.errors import DcubeError


@dataclass(frozen=True)
class RawFiles:
    """A folder as people download it, or a single `.npz`. What takes time is done once, when a layout asks for it."""

    path: Path

    @cached_property
    def files(self) -> list[str]:
        """All visible files, relative to the folder."""
        return visible_files(self.path)

    @cached_property
    def image_files(self) -> list[str]:
        """Those of a kind that can hold images."""
        return [file for file in self.files if is_image_file(self.path / file)]

    @cached_property
    def images(self) -> list[StoredImage]:
        """The images in these files, by their headers."""
        return [image for file in self.image_files for image in list_stored_images(self.path, file)]

    @cached_property
    def used_files(self) -> set[str]:
        """The files that hold at least one image."""
        return {image.file for image in self.images}

    @cached_property
    def top_folders(self) -> set[str]:
        """The first part of the path of each file with images."""
        return {PurePosixPath(file).parts[0] for file in self.used_files}

    @property
    def are_medical(self) -> bool:
        """Whether some of the images are stored as DICOM or NIfTI."""
        return any(is_medical(self.path / file) for file in self.used_files)


def visible_files(path: Path) -> list[str]:
    """Relative POSIX paths below a folder, sorted, without what operating systems and archivers leave behind."""
    files = sorted(file.relative_to(path).as_posix() for file in regular_files(path))
    for file in files:
        if re.search(r"[\x00-\x1f\ud800-\udfff]", file):  # surrogates stand for bytes that are not UTF-8
            raise DcubeError(f"{path}: the file name {file!a} is not plain text: rename it")
    return files
