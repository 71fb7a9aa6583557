"""Masks and thumbnails, by their names: `x_mask.png` beside `x.png`, or `masks/x.png` beside `images/x.png`."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

MASK_WORD = r"masks?|segm?|segmentations?|label ?maps?"
# These may be words of a class too: masks only where there is an image that they fit.
HINT_WORD = rf"{MASK_WORD}|labels?|gt|ground ?truths?|annotations?|anno|rois?|contours?|overlays?|thumb(?:nail)?s?"
NAME = re.compile(rf"(?:(?P<base>.*?)[_. -]+)?(?P<word>{HINT_WORD})(?:[_. -]*\d+)?", re.IGNORECASE)
NAME_FIRST = re.compile(rf"(?P<word>{HINT_WORD})[_. -]+(?P<base>.+)", re.IGNORECASE)
FOLDER = re.compile(rf"(?!no|with)(?:.*[_. -])?(?:{HINT_WORD})(?:Tr|Ts)?(?:[_. -](?:png|jpg|nii))?", re.IGNORECASE)
CAMEL = re.compile(r".*[a-z](?:Masks?|Segmentations?)")
SURE = re.compile(rf"(?:.*[_. -])?(?:{MASK_WORD})", re.IGNORECASE)
IMAGE_WORD = re.compile(r"^(?:images?|img)[_. -]+|[_. -]+(?:images?|img|orig|original)$", re.IGNORECASE)


def find_masks(files: Sequence[str]) -> tuple[list[str], list[str]]:
    """The masks among image files that have an image beside them, and what is called a mask and has none."""
    suspects = [file for file in files if _is_in_mask_folder(file) or _base(file) is not None]
    images = set(files) - set(suspects)
    beside = {(folder, start) for file in images for folder in _folders(file) for start in _starts(file)}
    masks, orphans = [], []
    for file in suspects:
        base, folder = _base(file), str(PurePosixPath(file).parent)
        if _is_in_mask_folder(file):
            found = ("", _stem(file)) in beside or (base is not None and ("", base) in beside)
        else:
            found = (folder, base) in beside
        if found:
            masks.append(file)
        elif _is_surely_a_mask(file):
            orphans.append(file)
    return masks, orphans


def _folders(file: str) -> tuple[str, str]:
    """A mask in a folder of masks belongs to an image in another folder, any other to one in its own."""
    return "", str(PurePosixPath(file).parent)


def _stem(file: str) -> str:
    name = PurePosixPath(file).name
    stem = re.sub(r"\.(nii|nii\.gz|dcm|png|jpe?g|bmp|tiff?|p[gnp]m|webp|ima)$", "", name, flags=re.IGNORECASE)
    return IMAGE_WORD.sub("", stem).casefold()


def _base(file: str) -> str | None:
    """What the image is called of which this is a mask by its name: empty for `segmentation.nii`, None for no mask."""
    stem = _stem(file)
    found = NAME.fullmatch(stem) or NAME_FIRST.fullmatch(stem)
    return IMAGE_WORD.sub("", found["base"] or "") if found else None


def _starts(file: str) -> set[str]:
    """The beginnings of a name at its separators: `case_1_seg` is a mask of `case_1_t1` and `case_1_flair`."""
    stem = _stem(file)
    return {"", stem, *(stem[: found.start()] for found in re.finditer(r"[_. -]+", stem))}


def _is_in_mask_folder(file: str) -> bool:
    return any(FOLDER.fullmatch(part) or CAMEL.fullmatch(part) for part in PurePosixPath(file).parts[:-1])


def _is_surely_a_mask(file: str) -> bool:
    parts = [*PurePosixPath(file).parts[:-1], re.sub(r"[_. -]*\d+$", "", _stem(file))]
    return any(SURE.fullmatch(part) and not re.match("no|with", part, re.IGNORECASE) for part in parts)
