"""Inspection of a raw data set: its content, and whether `prepare` would accept it."""

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

from dcube.artifacts.schemas.dataset import Grouping, NearDuplicates, RawImages
from dcube.config.schema import Data
from dcube.data.checks.clinical import HeaderSummary, summarise_headers
from dcube.data.checks.leaks import describe_near_duplicates, duplicate_groups, near_duplicate_groups
from dcube.data.group_checks import (
    BY_PATIENT,
    GroupCheck,
    check_groups,
    describe_leak,
    describe_restart,
    propose_groups,
)
from dcube.data.grouping import grouping_of
from dcube.data.grouping_errors import GroupingError
from dcube.data.image_summary import ImageSummary, describe_raw_images, refuse_unusable, tabulate
from dcube.data.inspection_warnings import image_warnings, leak_warnings, patient_warnings
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.layouts.raw_files import inner_folder, visible_files
from dcube.data.scan import scan_images
from dcube.data.scan_cache import ScanCache
from dcube.data.shortcuts import shortcut_warnings
from dcube.data.splits import count_by_class, plan_splits
from dcube.data.unnamed_masks import refuse_unnamed_masks
from dcube.errors import DcubeError, abbreviated
from dcube.runtime.settings import read_settings


@dataclass(frozen=True)
class InspectionReport:
    """Findings about a raw data set.

    Attributes:
        counts: numbers of labelled images by split (empty name: no split) and class.
        grouping: what `prepare` would keep in one split, as in `dataset.json`.
        group_checks: possible groupings of the images, and how much a split would leak under each.
        duplicates: numbers of extra copies by the splits that they are in, e.g. `train` or `train, validation`.
        duplicate_files: the files of each group of equal images.
        contradictions: the files of each group of equal images with different labels.
        near_duplicates: summary of copies that were re-encoded, resized or brightened.
        near_duplicate_files: the files of each group of near duplicates.
        unusable: the reason for each image that cannot be used, by file.
        left_out: the files that are not used, by reason.
        unused_columns: columns of `metadata.csv` that are not read; `data.subgroups` may name some of them.
        notes: what users must know about a published data set.
        clinical: summary of the DICOM and NIfTI headers; None without such files.
        blank: number of frames and slices that show nothing, which are left out.
        problem: why `prepare` would refuse the data set; empty if it would not.
        planned: `counts` after `prepare`; empty if it would refuse.
        dropped: number of copies that `prepare` would drop from an official split.
    """

    path: str
    layout: str
    images: int
    unlabelled: int
    counts: dict[str, dict[str, int]]
    raw: RawImages
    patients: int
    patients_in_several_splits: list[str]
    grouping: Grouping
    group_checks: list[GroupCheck]
    duplicates: dict[str, int]
    duplicate_files: list[list[str]]
    contradictions: list[list[str]]
    near_duplicates: NearDuplicates
    near_duplicate_files: list[list[str]]
    unusable: dict[str, str]
    left_out: dict[str, list[str]]
    unused_columns: list[str]
    notes: list[str]
    warnings: list[str]
    clinical: HeaderSummary | None
    blank: int
    problem: str = ""
    planned: dict[str, dict[str, int]] = field(default_factory=dict)
    dropped: int = 0

    def as_dict(self) -> dict:
        own = {"raw": self.raw.model_dump(), "near_duplicates": self.near_duplicates.model_dump()}
        return {**asdict(self), **own, "accepted": not self.problem}


def inspect_dataset(path: Path, data: Data) -> InspectionReport:
    """Read every image of a raw data set (a folder or an `.npz`) and report on it.

    Raises:
        DcubeError: if the layout cannot be read. All other problems are in the report.
    """
    try:
        dataset = read_raw_dataset(path, data)
    except GroupingError as error:  # a report without the wrong parameter proposes values for it
        without = data.model_copy(update=error.without)
        return replace(inspect_dataset(path, without), problem=_with_files(error, path, without), planned={}, dropped=0)
    cache = ScanCache(read_settings().scan_cache, inner_folder(path), dataset, data)
    summaries = scan_images(dataset, data, cache=cache)
    table = tabulate(dataset, summaries, cache.group_near_duplicates)
    usable = table[table["sha256"] != ""]
    groups = duplicate_groups(usable)
    near = describe_near_duplicates(usable)
    splits_of_patient = (
        usable[(usable["patient"] != "") & (usable["split"] != "")].groupby("patient")["split"].nunique()
    )
    grouping = grouping_of(table, data)
    group_checks = _check_groups(dataset, summaries, usable, data)
    leaks = leak_warnings(near) + (describe_leak(group_checks) if grouping == "none" else [])
    headers = summarise_headers(path, visible_files(path), cache.files) if dataset.is_medical else None
    return InspectionReport(
        path=str(path),
        layout=dataset.layout,
        images=len(table),
        unlabelled=int((table["label"] == "").sum()),
        counts=count_by_class(table),
        raw=describe_raw_images(summaries),
        patients=table["patient"].replace("", None).nunique(),
        patients_in_several_splits=list(splits_of_patient.index[splits_of_patient > 1]),
        grouping=grouping,
        group_checks=group_checks,
        duplicates=_extra_copies(groups),
        duplicate_files=[list(rows["file"]) for rows in groups],
        contradictions=[list(rows["file"]) for rows in groups if len(set(rows["label"]) - {""}) > 1],
        near_duplicates=near,
        near_duplicate_files=[list(rows["file"]) for rows in near_duplicate_groups(usable)],
        unusable={
            record.file: one.problem for record, one in zip(dataset.records, summaries, strict=True) if one.problem
        },
        left_out={why: list(files) for why, files in dataset.left_out.items()},
        unused_columns=list(dataset.unused_columns),
        notes=list(dataset.notes),
        warnings=image_warnings(dataset, summaries, headers, data)
        + patient_warnings(dataset, data, bool(group_checks[1:]))
        + ([] if grouping in ("patients", "group_by") else describe_restart(group_checks))
        + leaks
        + shortcut_warnings(dataset, usable, summaries),
        clinical=headers,
        blank=sum(summary.is_blank for summary in summaries),
        **_plan(dataset, summaries, table, data),
    )


def _with_files(error: GroupingError, path: Path, without: Data) -> str:
    records = read_raw_dataset(path, without).records if error.rows else []
    return ": ".join([str(error), *([abbreviated([records[row].file for row in error.rows])] if records else [])])


def _plan(dataset: RawDataset, summaries: list[ImageSummary], table: pd.DataFrame, data: Data) -> dict:
    """Return the report's fields about what `prepare` would do; the usable images are checked beside unusable ones."""
    problems = []
    try:
        refuse_unusable(dataset, summaries)
    except DcubeError as error:
        problems.append(str(error))
    usable = table[table["sha256"] != ""]
    if usable.empty and problems:
        return {"problem": problems[0]}
    try:
        refuse_unnamed_masks(dataset, summaries)
        plan = plan_splits(usable, data)
    except DcubeError as error:
        problems.append(str(error))
    if problems:
        return {"problem": "; without these, ".join(problems)}
    return {"planned": count_by_class(plan.table), "dropped": len(plan.dropped)}


def _check_groups(
    dataset: RawDataset, summaries: list[ImageSummary], usable: pd.DataFrame, data: Data
) -> list[GroupCheck]:
    labelled = _labelled(usable)
    if labelled.empty:
        return []
    thumbnails = [summaries[row].thumbnail for row in labelled.index]
    given = data.group_by or BY_PATIENT
    if labelled["patient"].ne("").any():
        return check_groups(labelled, thumbnails, {given: labelled["patient"]})
    return check_groups(labelled, thumbnails, propose_groups(labelled) if dataset.has_paths else {})


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["label"] != ""]


def _extra_copies(groups: list[pd.DataFrame]) -> dict[str, int]:
    """Count extra copies by split: all but one within each split, and one per image that is in several splits."""
    extra: Counter[str] = Counter()
    for rows in groups:
        within = rows["split"].value_counts()
        extra.update({str(split) or "all": int(n) - 1 for split, n in within.items() if n > 1})
        if len(within) > 1:
            extra[", ".join(sorted(split or "no split" for split in within.index))] += 1
    return dict(sorted(extra.items()))
