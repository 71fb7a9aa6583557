"""Warnings of `dcube data check`: what `prepare` accepts, and people should look at."""

from collections.abc import Sized

from dcube.artifacts.schemas.dataset import NearDuplicates
from dcube.config.guessed import is_guessed
from dcube.config.schema import Data
from dcube.data.checks.clinical import HeaderSummary
from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.errors import abbreviated

FEW = 0.1  # of the images in colour among grey ones, or the reverse, are named
DARK = 64  # of 255; 12-bit values in a 16-bit file reach only 16


def image_warnings(
    dataset: RawDataset, summaries: list[ImageSummary], headers: HeaderSummary | None, data: Data
) -> list[str]:
    """Return warnings about the pixels, names and headers of the images."""
    warnings = []
    deep = [
        one.brightest for one in summaries if one.mode.startswith(("I", "F", "uint16", "float", "DICOM MONOCHROME"))
    ]
    if deep and max(deep) < DARK:
        share = max(deep) / 255
        warnings.append(
            f"images of more than 8 bits use only {share:.1%} of their range and would be nearly black: "
            "rescale them (DICOM: set data.window_center and data.window_width)"
        )
    warnings += _range_warnings(dataset, summaries)
    warnings += _colour_warnings(dataset, summaries)
    if is_guessed(data.group_by or ""):
        warnings.append("the groups of data.group_by are guessed: remove 'guessed:' if they are right")
    warnings += dataset.name_warnings
    count = len(summaries)
    pairs = zip(dataset.records, summaries, strict=True)
    if flat := [record.file for record, summary in pairs if summary.has_few_levels]:
        few = "few grey levels or colours, as masks and label maps have"
        warnings.append(
            f"all {count} images have {few}: are these the masks in place of the images?"
            if len(flat) == count
            else f"{_of(flat, count, 'has', 'have')} {few}: remove these ({abbreviated(flat)})"
        )
    warnings += [
        f"{_of(files, count, 'is', 'are')} {what} ({abbreviated(files)})" for what, files in dataset.suspects.items()
    ]
    if headers and headers.burned_in.get("yes"):
        warnings.append(f"{headers.burned_in['yes']} files declare burned-in annotations: mask them")
    if headers and headers.identifying:
        warnings.append(
            "the headers identify people: `prepare` uses none of these fields, but data/ and its remote contain them"
        )
    return warnings


def _of(some: Sized, images: int, one: str, many: str) -> str:
    return f"{len(some)} of {images} images {one if len(some) == 1 else many}"


def _colour_warnings(dataset: RawDataset, summaries: list[ImageSummary]) -> list[str]:
    """Name a few colour images among grey ones, such as a photo of a patient among X-rays, or the reverse."""
    files: dict[bool, list[str]] = {True: [], False: []}
    for record, summary in zip(dataset.records, summaries, strict=True):
        if summary.sha256:
            files[summary.is_coloured].append(record.file)
    few = min(files.values(), key=len)
    usable = len(files[True]) + len(files[False])
    if not 0 < len(few) <= FEW * usable:
        return []
    kind, other = ("in colour", "grey") if few is files[True] else ("grey", "in colour")
    return [
        f"{_of(few, usable, 'is', 'are')} {kind}, and the others are {other} ({abbreviated(few)}): remove what is not "
        "of the same kind"
    ]


def _range_warnings(dataset: RawDataset, summaries: list[ImageSummary]) -> list[str]:
    """Warn of images that are normalised each by itself, e.g. PET slices with a rescale slope each and no window."""
    first: dict[tuple[float, float], str] = {}
    for record, summary in zip(dataset.records, summaries, strict=True):
        if summary.own_range:
            first.setdefault(summary.own_range, record.file)
    if len(first) < 2:
        return []
    narrowest, *_, widest = sorted(first, key=lambda ends: ends[1] - ends[0])
    shown = " and ".join(f"{low:g}…{high:g} in {first[low, high]}" for low, high in (narrowest, widest))
    return [
        f"without a window, black to white are {len(first)} different ranges of values ({shown}): equal values are not "
        "equally bright: set data.window_center and data.window_width"
    ]


def patient_warnings(dataset: RawDataset, data: Data, has_proposals: bool) -> list[str]:
    """Return warnings about images without a patient or group, and how to give one."""
    unknown = [record.file for record in dataset.records if not record.patient]
    if not unknown:
        return []
    plural = "s" if len(unknown) == 1 else ""
    belonging = f"belong{plural} to no group" if data.group_by else f"name{plural} no patient"
    counted = (
        f"{len(unknown)} of {len(dataset.records)} images {belonging}: images of one person may be in several splits"
    )
    if not dataset.has_paths:
        return [counted]
    if data.group_by:
        return [counted, f"data.group_by finds no group for {abbreviated(unknown, limit=1)}: each is split on its own"]
    if len(unknown) == len(dataset.records):
        if has_proposals:
            return [counted, "give patients: data.group_by (see the proposals), or patient_id in metadata.csv"]
        return [counted, "the file names suggest no groups: give patients in metadata.csv (column patient_id)"]
    first = abbreviated(unknown, limit=1)
    if dataset.has_patient_column:
        return [counted, f"patient_id in metadata.csv is empty for {first}: fill it"]
    return [counted, f"give patients: patient_id in metadata.csv, for {first}"]


def leak_warnings(near: NearDuplicates) -> list[str]:
    """Name near duplicates that are in several splits or have several labels."""
    found = {
        "near duplicates in several splits (data leakage)": near.in_several_splits,
        "one picture with several labels": near.with_several_labels,
    }
    pictures = {what: [" = ".join(files) for files in groups] for what, groups in found.items() if groups}
    return [f"{what}: {abbreviated(files)}" for what, files in pictures.items()]
