"""Detection of masks without telling names: images of few grey levels with the name and size of another image."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from PIL import Image

from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.errors import DcubeError, abbreviated

FEW_LEVELS = 8  # grey levels or colours: a label map has one value per tissue
NOISE = 8  # grey levels by which JPEG may change a value
COVERED = 0.95  # of the pixels: JPEG makes intermediate values at the edges of a mask
FEWEST = 3
NEARLY_ALL = 0.8
COLOUR_BANDS = 3


def has_few_levels(image: Image.Image) -> bool:
    """Return whether the image has at most `FEW_LEVELS` levels or colours, or two in each channel with JPEG noise."""
    if image.getcolors(FEW_LEVELS) is not None:
        return True
    if image.mode == "F":
        return False
    is_colour = image.mode == "P" or len(image.getbands()) >= COLOUR_BANDS
    levels = [_count_levels(band.histogram()) for band in image.convert("RGB" if is_colour else "L").split()]
    return 0 not in levels and max(levels) > 1


def _count_levels(counts: list[int]) -> int:
    """Return whether one or two levels, with their noise, cover nearly all of a channel; 0 if it takes more."""
    first, rest = _without_peak(counts)
    second, _ = _without_peak(rest)
    if sum(_near(counts, first)) >= COVERED * sum(counts):
        return 1 if abs(first - second) <= 4 * NOISE or not any(rest) else 2
    both = sum(_near(counts, first)) + sum(_near(counts, second))
    return 2 if abs(first - second) > 4 * NOISE and both >= COVERED * sum(counts) else 0


def _near(counts: list[int], peak: int) -> list[int]:
    return counts[max(0, peak - NOISE) : peak + NOISE + 1]


def _without_peak(counts: list[int]) -> tuple[int, list[int]]:
    """Return the most frequent level, and the histogram without this level and its noise."""
    peak = max(range(len(counts)), key=counts.__getitem__)
    return peak, [0 if abs(level - peak) <= NOISE else count for level, count in enumerate(counts)]


def refuse_unnamed_masks(dataset: RawDataset, summaries: Sequence[ImageSummary]) -> None:
    """Raise `DcubeError` if nearly all images of few levels match another image by name and size."""
    flat = [row for row, one in enumerate(summaries) if one.has_few_levels]
    if len(flat) < FEWEST or not dataset.has_paths:
        return
    keys = [
        [(name, one.width, one.height) for name in names]
        for names, one in zip(dataset.beginnings(), summaries, strict=True)
    ]
    owners: dict[tuple[int, int, int], Counter[str]] = defaultdict(Counter)
    for row in set(range(len(keys))).difference(flat):
        for key in keys[row][:1]:  # none for a name without words
            owners[key][dataset.records[row].label] += 1
    mixed = set().union(*owners.values())
    masks = []
    for row in flat:
        found = sum((owners.get(key, Counter()) for key in keys[row]), Counter())
        label = dataset.records[row].label
        # One matching image in its class, or one in all if its whole class has few levels, as a folder of masks has.
        if (found[label] if label in mixed else found.total()) == 1:
            masks.append(dataset.records[row].file)
    if len(masks) >= max(FEWEST, NEARLY_ALL * len(flat)):
        raise DcubeError(
            f"{len(masks)} images have few grey levels, and the names and sizes of other images, as masks have "
            f"({abbreviated(masks)}): remove them, or give them other names if they are images"
        )
