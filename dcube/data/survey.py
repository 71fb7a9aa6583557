"""One pass over every raw image, on all cores."""

import hashlib
import os
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd

from dcube.artifacts.schemas.dataset import Extent, RawImages
from dcube.config.schema import Data
from dcube.data.checks.near_duplicates import same_picture, thumbnail
from dcube.data.layouts.source import Seen, Source
from dcube.data.naming import some
from dcube.data.readers.images import UnusableImageError, to_square
from dcube.data.unfinished import Unfinished
from dcube.engine.progress import progress
from dcube.errors import DcubeError

IMAGES_AT_ONCE = 1024


def survey(source: Source, data: Data, work: Unfinished | None = None) -> list[Seen]:
    """Decode every image once; those that `work` has already are not read again.

    Args:
        work: where to store the arrays.
    """
    seen = work.seen() if work else []
    images = len(source.records)
    with progress("Reading images", total=images, unit="images", completed=len(seen)) as advance:
        # Pillow decodes and resizes without the interpreter's lock. One thread more waits for the disk.
        with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
            noting: Future | None = None
            while len(seen) < images:
                block = []
                for one in pool.map(lambda i: _see(source, i, data, work), range(images)[len(seen) :][:IMAGES_AT_ONCE]):
                    block.append(one)
                    advance()
                seen += block
                if noting:
                    noting.result()
                noting = pool.submit(work.note, block) if work else None
            if noting:
                noting.result()
    return seen


def refuse_unusable(source: Source, seen: list[Seen]) -> None:
    """Raise one `DcubeError` that names the first unusable images and says how many there are."""
    bad = [f"{record.file} ({one.problem})" for record, one in zip(source.records, seen, strict=True) if one.problem]
    if bad:
        raise DcubeError(f"{len(bad)} of {len(seen)} images cannot be used: {some(bad)}: mend or remove them")


def tabulate(source: Source, seen: list[Seen]) -> pd.DataFrame:
    """The source's table with the columns sha256 (empty where unusable) and picture, equal for near duplicates.

    Blank slices are left out.
    """
    looked_at = [i for i, one in enumerate(seen) if one.thumbnail]
    picture = np.arange(len(seen))
    picture[looked_at] = len(seen) + same_picture([seen[i].thumbnail for i in looked_at])
    table = source.table().assign(sha256=[one.sha256 for one in seen], picture=picture)
    return table[[not one.blank for one in seen]]


def describe(seen: list[Seen]) -> RawImages:
    """Sizes, storage modes and modalities of the usable raw images."""
    usable = [one for one in seen if one.sha256]
    return RawImages(
        modes=dict(Counter(one.mode for one in usable).most_common()),
        modalities=dict(Counter(one.modality for one in usable if one.modality).most_common()),
        width=_extent([one.width for one in usable]),
        height=_extent([one.height for one in usable]),
    )


def _see(source: Source, i: int, data: Data, work: Unfinished | None) -> Seen:
    try:
        raw = source.read(i)
    except UnusableImageError as problem:
        return Seen(problem=str(problem))
    pixels = to_square(raw.image, data.image_size, data.channels, data.fit)
    if pixels.min() == pixels.max() and raw.several:
        return Seen(blank=True)
    if pixels.min() == pixels.max():
        return Seen(problem=f"constant within the square that fit: {data.fit} leaves")
    if work:
        for size in work.sizes:
            same = size == data.image_size
            work.write(size, i, pixels if same else to_square(raw.image, size, data.channels, data.fit))
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    small = thumbnail(raw.image, data).tobytes() if data.near_duplicates else b""
    return Seen(digest, raw.mode, *raw.image.size, raw.brightest, raw.modality, thumbnail=small)


def _extent(values: list[int]) -> Extent | None:
    if not values:
        return None
    return Extent(smallest=min(values), median=float(np.median(values)), largest=max(values))
