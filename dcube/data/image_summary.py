"""What one pass over the raw images leaves of each of them."""

import base64
from collections import Counter
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
    """What is known about one raw image.

    Attributes:
        sha256: of the square pixels that networks see: equal means equal to every model.
        width, height: in pixels, after the crop.
        problem: why the image cannot be used; everything else is then empty.
        is_blank: whether it is a frame or slice that shows nothing, and is left out; everything else is then empty.
        thumbnail: to find near duplicates by, where they are looked for.
        has_few_levels: whether it has hardly any grey levels or colours, as label maps have.
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
    has_few_levels: bool = False

    def as_json(self) -> dict[str, Any]:
        """The attributes, as JSON can hold them."""
        return {**asdict(self), "thumbnail": base64.b64encode(self.thumbnail).decode()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ImageSummary":
        """What `as_json` gave."""
        return cls(**{**values, "thumbnail": base64.b64decode(values["thumbnail"])})


def refuse_unusable(dataset: RawDataset, summaries: Sequence[ImageSummary]) -> None:
    """Raise one `DcubeError` that names the first unusable images and says how many there are."""
    pairs = zip(dataset.records, summaries, strict=True)
    unusable = [f"{record.file} ({summary.problem})" for record, summary in pairs if summary.problem]
    if unusable:
        raise DcubeError(
            f"{len(unusable)} of {len(summaries)} images cannot be used: {abbreviated(unusable)}: repair or remove them"
        )


def tabulate(
    dataset: RawDataset,
    summaries: Sequence[ImageSummary],
    group: Callable[[Sequence[bytes]], np.ndarray] = group_near_duplicates,
) -> pd.DataFrame:
    """The data set's table with the columns sha256 (empty where unusable) and picture, equal for near duplicates.

    Blank slices are left out. `group` finds near duplicates.
    """
    with_thumbnail = [i for i, summary in enumerate(summaries) if summary.thumbnail]
    picture = np.arange(len(summaries))
    picture[with_thumbnail] = len(summaries) + group([summaries[i].thumbnail for i in with_thumbnail])
    table = dataset.table().assign(sha256=[summary.sha256 for summary in summaries], picture=picture)
    return table[[not summary.is_blank for summary in summaries]]


def describe_raw_images(summaries: Sequence[ImageSummary]) -> RawImages:
    """Sizes, storage modes and modalities of the usable images."""
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
