"""Summaries of the raw images, one per image, made in one pass over the data set."""

import base64
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from dcube.artifacts.schemas.dataset import Extent, RawImages
from dcube.data.checks.near_duplicates import group_near_duplicates
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.errors import DcubeError, abbreviated


@dataclass(frozen=True)
class ImageSummary:
    """Summary of one raw image.

    Attributes:
        sha256: hash of the square pixels that networks see; images with equal hashes are equal to every model.
        mode, brightest, modality, own_range: as in `RawImage`.
        width, height: size in pixels, after the crop.
        problem: why the image cannot be used; all other fields are then empty.
        is_blank: whether it is a frame or slice that shows nothing and is left out; all other fields are then empty.
        thumbnail: pixels for the search for near duplicates; empty if they are not searched for.
        has_few_levels: whether it has hardly any grey levels or colours, like a label map.
        is_coloured: whether it shows colours; a grey image may be stored in a colour mode.
    """

    sha256: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    brightest: float = 0.0
    modality: str = ""
    problem: str = ""
    is_blank: bool = False
    thumbnail: bytes = b""
    own_range: tuple[float, float] | None = None
    has_few_levels: bool = False
    is_coloured: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the attributes as values that JSON can represent."""
        return {**asdict(self), "thumbnail": base64.b64encode(self.thumbnail).decode()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ImageSummary":
        """Restore a summary from the result of `as_json`."""
        own_range = tuple(values["own_range"]) if values["own_range"] else None
        return cls(**{**values, "thumbnail": base64.b64decode(values["thumbnail"]), "own_range": own_range})


def refuse_unusable(dataset: RawDataset, summaries: Sequence[ImageSummary]) -> None:
    """Raise one `DcubeError` with the unusable images by reason, the first of many, if there are any."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for record, summary in zip(dataset.records, summaries, strict=True):
        if summary.problem:
            reasons[summary.problem].append(record.file)
    if not reasons:
        return
    unusable = sum(map(len, reasons.values()))
    found = abbreviated([f"{abbreviated(files)} ({problem})" for problem, files in reasons.items()])
    if not any(summary.sha256 for summary in summaries):
        raise DcubeError(f"none of the {unusable} images can be used: {found}")
    raise DcubeError(f"{unusable} of {len(summaries)} images cannot be used: {found}: repair or remove them")


def tabulate(
    dataset: RawDataset,
    summaries: Sequence[ImageSummary],
    group: Callable[[Sequence[bytes]], np.ndarray] = group_near_duplicates,
) -> pd.DataFrame:
    """Return the data set's table with the additional columns sha256 and picture, without blank slices.

    `sha256` is empty for an unusable image; `picture` is equal for near duplicates.

    Args:
        group: returns the group number of each thumbnail, equal for near duplicates.
    """
    with_thumbnail = [i for i, summary in enumerate(summaries) if summary.thumbnail]
    picture = np.arange(len(summaries))
    picture[with_thumbnail] = len(summaries) + group([summaries[i].thumbnail for i in with_thumbnail])
    table = dataset.table().assign(sha256=[summary.sha256 for summary in summaries], picture=picture)
    return table[[not summary.is_blank for summary in summaries]]


def describe_raw_images(summaries: Sequence[ImageSummary]) -> RawImages:
    """Summarise sizes, storage modes and modalities of the usable images."""
    usable = [summary for summary in summaries if summary.sha256]
    return RawImages(
        modes=dict(Counter(summary.mode for summary in usable).most_common()),
        modalities=dict(Counter(summary.modality for summary in usable if summary.modality).most_common()),
        width=_extent([summary.width for summary in usable]),
        height=_extent([summary.height for summary in usable]),
    )


def _extent(sides: Sequence[int]) -> Extent | None:
    if not sides:
        return None
    return Extent(smallest=min(sides), median=float(np.median(sides)), largest=max(sides))
