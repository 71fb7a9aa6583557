"""The files of a raw data set, before its layout is known."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from dcube.data.layouts.columns import SPLIT_NAMES
from dcube.data.layouts.masks import find_masks, is_mask_folder
from dcube.data.layouts.naming_tables import NamingTable, find_naming_tables, is_table
from dcube.data.layouts.previews import PREVIEW, previews
from dcube.data.layouts.tables import is_unlabelled
from dcube.data.readers.file_kinds import MEDICAL, Kind, kind_of
from dcube.data.readers.stored_images import StoredImage, list_stored_images, why_auxiliary
from dcube.data.readers.walking import regular_files
from dcube.errors import DcubeError, abbreviated

# Names of files left by operating systems, archivers and network storage, by the reason that is printed.
DEBRIS = {
    "thumbnail": re.compile(r"@eaDir|thumbnails?|Thumbs\.db|SYNOPHOTO_.*", re.IGNORECASE),
    "left by an operating system or an archiver": re.compile(
        r"__MACOSX|__pycache__|desktop\.ini|ehthumbs\.db|\$RECYCLE\.BIN|#recycle|@tmp|@Recycle|lost\+found|"
        r"System Volume Information|Icon\r",
        re.IGNORECASE,
    ),
    "hidden file": re.compile(r"\..*"),
}
TABLES = frozenset([".csv", ".tsv", ".xls", ".xlsx", ".npz", ".json"])
MASK = "mask or thumbnail of an image"
METADATA = "metadata.csv"
UNUSED = "table that is not used here"
NAMING = f"table that names images: only {METADATA} is read"


@dataclass(frozen=True)
class RawFiles:
    """A folder as downloaded, or a single `.npz`. Slow properties are computed once, when a layout first uses them."""

    path: Path

    @cached_property
    def _by_reason(self) -> dict[str, list[str]]:
        return sort_files(self.path)

    @property
    def files(self) -> list[str]:
        """All files, relative to the folder, without debris."""
        return self._by_reason[""]

    @property
    def debris(self) -> dict[str, list[str]]:
        """Files left by operating systems, archivers and network storage, by reason."""
        return {reason: files for reason, files in self._by_reason.items() if reason}

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The files of a kind that can contain images → their kind."""
        return {file: kind for file in self.files if (kind := kind_of(self.path / file))}

    @property
    def image_files(self) -> list[str]:
        """The files of a kind that can contain images."""
        return list(self.kinds)

    @cached_property
    def stored(self) -> dict[str, list[StoredImage] | str]:
        """The images in each file according to its header, or the reason why it has none."""
        return {file: list_stored_images(self.path, file) for file in self.files}

    @cached_property
    def all_images(self) -> list[StoredImage]:
        """All images, including masks and auxiliary images such as localizers."""
        return [image for found in self.stored.values() if not isinstance(found, str) for image in found]

    @cached_property
    def _masks(self) -> tuple[list[str], list[str]]:
        return find_masks(self.image_files)

    @cached_property
    def set_aside(self) -> dict[StoredImage, str]:
        """Images that do not belong to the data set according to their names or headers → the reason."""
        aside = dict.fromkeys(previews(self.kinds), PREVIEW) | dict.fromkeys(self._masks[0], MASK)
        by_name = {image: aside[image.file] for image in self.all_images if image.file in aside}
        return by_name | why_auxiliary(self.all_images)

    @cached_property
    def images(self) -> list[StoredImage]:
        """The images of the data set: all images except those in `set_aside`."""
        return [image for image in self.all_images if image not in self.set_aside]

    @cached_property
    def naming_tables(self) -> list[NamingTable]:
        """The tables beside the images that name them."""
        return find_naming_tables(self.path, self.files, {image.file for image in self.images})

    @cached_property
    def top_folders(self) -> set[str]:
        """The first part of the path of each image file."""
        return {PurePosixPath(image.file).parts[0] for image in self.images}

    @property
    def are_medical(self) -> bool:
        """Whether some of the images are stored as DICOM or NIfTI."""
        return any(self.kinds.get(image.file) in MEDICAL for image in self.images)

    def left_out(self, used: set[str]) -> dict[str, tuple[str, ...]]:
        """Return all files that are not in `used`, by the reason why they are left out."""
        reasons = {image.file: why for image, why in self.set_aside.items()}
        reasons |= {file: why for file, why in self.stored.items() if isinstance(why, str)}
        if any(is_table(file) and file not in used for file in self.files):
            reasons |= {table.file: UNUSED if table.file == METADATA else NAMING for table in self.naming_tables}
        found: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            if file not in used:
                found[reasons.get(file, "not used")].append(file)
        return {why: tuple(files) for why, files in sorted({**self.debris, **found}.items())}

    def refuse_unread_patients(self) -> None:
        """Raise `DcubeError` if a table other than `metadata.csv` has a column of patients, which would not be read."""
        for table in self.naming_tables:
            if table.people and table.file != METADATA:
                raise DcubeError(
                    f"{self.path / table.file}: its column {table.people!r} names patients, and would not be used: "
                    f"write it into {METADATA} as patient_id, or remove the table"
                )

    def refuse_doubtful_masks(self, class_level: int) -> None:
        """Raise `DcubeError` for masks without images, which would be used as images, and for classes named like masks.

        Args:
            class_level: index of the folder in a path that is the class.
        """
        masks, lone = self._masks
        for file in masks:
            folders = PurePosixPath(file).parts[:-1]
            if len(folders) > class_level and is_mask_folder(folders[class_level]):
                raise DcubeError(
                    f"{self.path.joinpath(*folders[: class_level + 1])} may be a class, or hold masks or thumbnails of "
                    "the images in other folders: rename it if it is a class (or write a metadata.csv), else remove it"
                )
        if lone:
            raise DcubeError(
                f"{self.path / lone[0]} is called a mask, and there is no image that it belongs to "
                f"({len(lone)} such files): remove the masks, or rename what are images"
            )


def describe_left_out(left_out: Mapping[str, Sequence[str]]) -> str:
    """Describe the files of a folder without images, to append to an error text; empty for an empty folder."""
    found = [f"{len(files)} × {why} ({abbreviated(sorted(files))})" for why, files in left_out.items()]
    return f", but {'; '.join(found)}" if found else ""


def sort_files(path: Path) -> dict[str, list[str]]:
    """Return all files below a folder by the reason why they are left out; the reason `""` means not left out.

    Returns:
        Reason → sorted POSIX paths, relative to the folder.

    Raises:
        DcubeError: if a file name has control characters or is not UTF-8, or if `regular_files` refuses a file.
    """
    found: dict[str, list[str]] = {"": sorted(_relative(path, regular_files(path, is_debris)))}
    for file in sorted(_relative(path, (file for file in path.rglob("*") if file.is_file()))):
        if why := _debris(PurePosixPath(file).parts):
            found.setdefault(why, []).append(file)
    for file in found[""]:
        if re.search(r"[\x00-\x1f\ud800-\udfff]", file):  # Python decodes bytes that are not UTF-8 as surrogates
            raise DcubeError(f"{path}: the file name {file!a} is not plain text: rename it")
    return found


def _relative(path: Path, files: Iterable[Path]) -> Iterator[str]:
    return (file.relative_to(path).as_posix() for file in files)


def visible_files(path: Path) -> list[str]:
    """Return the files of `sort_files` that are not left out."""
    return sort_files(path)[""]


def inner_folder(path: Path) -> Path:
    """Return the folder that contains the data set, after skipping outer folders that only contain one folder.

    Other files beside that folder are allowed, except images and tables that may describe the images.
    """
    while (inner := _only_folder(path)) is not None:
        path = inner
    return path


def _only_folder(path: Path) -> Path | None:
    """Return the only folder in a folder, or None if there are several or it is probably a split or a class."""
    if not path.is_dir():
        return None
    entries = [entry for entry in path.iterdir() if not is_debris(entry.name)]
    folders = [entry for entry in entries if entry.is_dir()]
    if len(folders) != 1 or folders[0].is_symlink() or _says_something(folders[0].name):
        return None
    if any(entry.suffix.lower() in TABLES or kind_of(entry) for entry in entries if entry.is_file()):
        return None
    inside = [entry for entry in folders[0].iterdir() if not is_debris(entry.name)]
    files = [entry for entry in inside if entry.is_file()]
    if any(entry.suffix.lower() in TABLES for entry in files):
        return folders[0]
    return None if any(kind_of(entry) for entry in files) or not inside else folders[0]


def is_debris(name: str) -> bool:
    return bool(_debris((name,)))


def _says_something(folder: str) -> bool:
    return folder.casefold() in SPLIT_NAMES or is_unlabelled(folder)


def _debris(parts: Sequence[str]) -> str:
    return next((why for why, pattern in DEBRIS.items() if any(map(pattern.fullmatch, parts))), "")
