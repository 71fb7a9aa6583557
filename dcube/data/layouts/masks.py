"""Detection of masks and thumbnails by name: `x_mask.png` beside `x.png`, or `masks/x.png` and `images/x.png`."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath

from dcube.data.readers.stored_images import split_name

SUFFIX = re.compile(r"\.(nii|nii\.gz|dcm|png|jpe?g|bmp|tiff?|p[gnp]m|webp|ima)$", re.IGNORECASE)
WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])|\d+")
MASK = r"\b(?:\w*(?<!un)masks?|segs?|segm|segmentations?|label ?maps?|ground ?truths?)\b"
# These words may also name a class, so such a file is a mask only if an image with a matching name exists.
HINT = re.compile(rf"{MASK}|\b(?:labels?|gt|annotations?|anno|rois?|contours?|overlays?|thumb(?:nail)?s?)\b")
SURE = re.compile(rf"{MASK}(?: \d+)?$")
NEGATED = re.compile(r"\b(?:no|non|not|with|without)\b")  # `with_mask` and `no_mask` are classes
IMAGE_WORD = re.compile(r"^(?:images?|img)\b ?| ?\b(?:images?|img|orig|original)$")
NUMBER = re.compile(r"[\d ]*")


def words(name: str) -> str:
    """Split a name into lower-case words and numbers: `lung_MaskLeft1` gives `lung mask left 1`."""
    return " ".join(word.lower() for word in WORD.findall(name))


def stem_words(file: str) -> str:
    """Split the name of a file into words as `words` does, without the suffix and words like `image`."""
    return IMAGE_WORD.sub("", words(SUFFIX.sub("", PurePosixPath(file).name)))


def beginnings(text: str) -> Iterator[str]:
    """Yield a text of words and all its shorter beginnings of whole words, the longest first."""
    while text:
        yield text
        text = text.rpartition(" ")[0]


def numbered_beginnings(images: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """Return one number for each of the `beginnings` of each image's name; equal words have equal numbers.

    Frames or slices (`file#number`) of two files can only have equal numbers if their own number is the same.
    """
    numbers: dict[tuple[str, str], int] = {}
    parts = map(split_name, images)
    return tuple(
        tuple(numbers.setdefault((begin, slice_number), len(numbers)) for begin in beginnings(stem_words(file)))
        for file, slice_number in parts
    )


@cache
def is_mask_folder(folder: str) -> bool:
    return HINT.search(words(folder)) is not None and not NEGATED.search(words(folder))


def find_masks(files: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the masks that belong to an image among the files, and the files called masks that belong to none."""
    suspects = [file for file in files if _is_in_mask_folder(file) or HINT.search(stem_words(file))]
    if not suspects:
        return [], []
    images = _Images.of(set(files).difference(suspects))
    masks, orphans = [], []
    for file in suspects:
        if images.have_mask(file):
            masks.append(file)
        elif _is_surely_a_mask(file):
            orphans.append(file)
    return masks, orphans


@dataclass
class _Images:
    """Names of images as words, whole (`whole`) and their beginnings (`begun`), by folder; `""` is any folder."""

    whole: set[tuple[str, str]] = field(default_factory=set)
    begun: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, files: Iterable[str]) -> "_Images":
        found = cls()
        for file in files:
            stem = stem_words(file)
            for folder in ("", str(PurePosixPath(file).parent)):
                found.whole.add((folder, stem))
                found.begun.update((folder, begin) for begin in (*beginnings(stem), ""))
        return found

    def have_mask(self, file: str) -> bool:
        """Return whether the file is a mask of one of the images; for a file in a mask folder, in any folder."""
        name, folder = stem_words(file), str(PurePosixPath(file).parent)
        if _is_in_mask_folder(file):
            folder = ""
            if (folder, name) in self.begun or any((folder, begin) in self.whole for begin in beginnings(name)):
                return True
        return any(self._have(folder, name, hint) for hint in HINT.finditer(name))

    def _have(self, folder: str, name: str, hint: re.Match[str]) -> bool:
        """Return whether an image matches: `case_1_seg` matches `case_1_t1` too, `case_1_left_seg` only `case_1`."""
        before = IMAGE_WORD.sub("", name[: hint.start()].strip())
        after = name[hint.end() :].strip()
        return (
            any((folder, begin) in self.whole for begin in beginnings(before))
            or (NUMBER.fullmatch(after) is not None and (folder, before) in self.begun)
            or (not before and bool(after) and (folder, IMAGE_WORD.sub("", after)) in self.begun)
        )


def _is_in_mask_folder(file: str) -> bool:
    return any(map(is_mask_folder, PurePosixPath(file).parts[:-1]))


def _is_surely_a_mask(file: str) -> bool:
    names = [*map(words, PurePosixPath(file).parts[:-1]), stem_words(file)]
    return any(SURE.search(name) and not NEGATED.search(name) for name in names)
