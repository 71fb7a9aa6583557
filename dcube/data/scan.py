"""One pass over all raw images on all cores, in which each image is decoded, preprocessed, hashed and summarised."""

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor

from PIL import Image

from dcube.artifacts.schemas.dataset import InputSpec
from dcube.config.schema import Data
from dcube.data.checks.near_duplicates import thumbnail
from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.preprocessing import preprocess
from dcube.data.readers.modes import is_coloured
from dcube.data.readers.raw_image import BlankSliceError, UnusableImageError
from dcube.data.scan_cache import ScanCache
from dcube.data.scan_checkpoint import ScanCheckpoint
from dcube.data.unnamed_masks import has_few_levels
from dcube.engine.progress import progress

IMAGES_AT_ONCE = 1024
SAMPLED = 64  # pixels a side, of which the colours are compared


def scan_images(
    dataset: RawDataset, data: Data, checkpoint: ScanCheckpoint | None = None, cache: ScanCache | None = None
) -> list[ImageSummary]:
    """Decode every image once and return its summary; images in the checkpoint are not read again.

    Args:
        checkpoint: stores the arrays; None if only the summaries are needed.
        cache: summaries of earlier scans, for a scan without a checkpoint.
    """
    summaries = checkpoint.load_summaries() if checkpoint else []
    images = len(dataset.records)
    with progress("Reading images", total=images, unit="images", completed=len(summaries)) as advance:
        # Pillow releases the interpreter's lock, so threads use all cores. One extra thread waits for the disk.
        with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
            committing: Future | None = None
            while len(summaries) < images:
                rows = range(images)[len(summaries) :][:IMAGES_AT_ONCE]
                known = cache.find(rows) if cache else {}
                block = []
                for summary in pool.map(
                    lambda row, known=known: known.get(row) or _scan_image(dataset, row, data, checkpoint), rows
                ):
                    block.append(summary)
                    advance()
                if cache and len(known) < len(rows):
                    cache.add({row: one for row, one in zip(rows, block, strict=True) if row not in known})
                summaries += block
                if committing:
                    committing.result()
                committing = pool.submit(checkpoint.commit, block) if checkpoint else None
            if committing:
                committing.result()
    return summaries


def _scan_image(dataset: RawDataset, row: int, data: Data, checkpoint: ScanCheckpoint | None) -> ImageSummary:
    try:
        raw = dataset.read(row)
        found = preprocess(raw, InputSpec.of(data))
    except BlankSliceError:
        return ImageSummary(is_blank=True)
    except UnusableImageError as problem:
        return ImageSummary(problem=str(problem))
    if checkpoint:
        checkpoint.write(data.image_size, row, found.image)
        if data.diffusion_image_size != data.image_size:
            checkpoint.write(data.diffusion_image_size, row, found.diffusion_image)
    return ImageSummary(
        hashlib.sha256(found.image.tobytes()).hexdigest(),
        raw.mode,
        *found.raw.image.size,
        raw.brightest,
        raw.modality,
        thumbnail=thumbnail(found.raw.image, data.fit).tobytes() if data.near_duplicates else b"",
        own_range=raw.own_range,
        has_few_levels=has_few_levels(raw.image),
        is_coloured=is_coloured(raw.image.resize((SAMPLED, SAMPLED), Image.Resampling.NEAREST)),
    )
