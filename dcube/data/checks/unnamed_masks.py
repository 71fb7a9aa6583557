"""Masks and label maps that no name tells: images of few grey levels that share name and size with another image."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from PIL import Image

from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.errors import DcubeError, abbreviated

FEW_LEVELS = 8  # grey levels or colours: label maps have as many values as there are tissues
NOISE = 8  # grey levels that JPEG may be off by
COVERED = 0.95  # of the pixels: the edges of a mask have all values between, in JPEG
FEWEST = 3
NEARLY_ALL = 0.8


def has_few_levels(image: Image.Image) -> bool:
    """Whether it has hardly any grey levels or colours, or but two of them and the noise of JPEG."""
    if image.getcolors(FEW_LEVELS) is not None:
        return True
    if image.mode == "F":
        return False
    counts = image.convert("L").histogram()
    first, rest = _without_peak(counts)
    second, _ = _without_peak(rest)
    return abs(first - second) > 4 * NOISE and sum(counts) * COVERED <= sum(
        sum(counts[max(0, peak - NOISE) : peak + NOISE + 1]) for peak in (first, second)
    )


def _without_peak(counts: list[int]) -> tuple[int, list[int]]:
    """The most frequent level, and the histogram without it and its noise."""
    peak = max(range(len(counts)), key=counts.__getitem__)
    return peak, [0 if abs(level - peak) <= NOISE else count for level, count in enumerate(counts)]


def refuse_unnamed_masks(dataset: RawDataset, summaries: Sequence[ImageSummary]) -> None:
    """Raise `DcubeError` where nearly all images of few levels belong to another image by name and size."""
    rows = range(len(dataset.beginnings))
    flat = [row for row in rows if summaries[row].has_few_levels]
    if len(flat) < FEWEST:
        return
    owners: dict[tuple, Counter[str]] = defaultdict(Counter)
    for row in set(rows).difference(flat):
        owners[_key(dataset, summaries, row, 0)][dataset.records[row].label] += 1
    mixed = set().union(*owners.values())
    masks = []
    for row in flat:
        names = range(len(dataset.beginnings[row]))
        found = sum((owners.get(_key(dataset, summaries, row, name), Counter()) for name in names), Counter())
        label = dataset.records[row].label
        # One owner in its class; or one at all, where its whole class is like that: a folder of masks.
        if (found[label] if label in mixed else found.total()) == 1:
            masks.append(dataset.records[row].file)
    if len(masks) >= max(FEWEST, NEARLY_ALL * len(flat)):
        raise DcubeError(
            f"{len(masks)} images have few grey levels, and the names and sizes of other images, as masks have "
            f"({abbreviated(masks)}): remove them, or give them other names if they are images"
        )


def _key(dataset: RawDataset, summaries: Sequence[ImageSummary], row: int, name: int) -> tuple[int, int, int]:
    return dataset.beginnings[row][name], summaries[row].width, summaries[row].height
