"""What a raw data set holds, and whether `prepare` would accept it."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from dcube.artifacts.schemas.dataset import NearDuplicates, RawImages
from dcube.config.schema import Data
from dcube.data.checks.clinical import HeaderSummary, summarise_headers
from dcube.data.checks.leaks import describe_near_duplicates, duplicate_groups
from dcube.data.image_summary import ImageSummary, describe_raw_images, refuse_unusable, tabulate
from dcube.data.layouts.detection import read_raw_dataset
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.layouts.raw_files import visible_files
from dcube.data.scan import scan_images
from dcube.data.splits import count_by_class, plan_splits
from dcube.errors import DcubeError, abbreviated

DARK = 64  # of 255: 12-bit values in 16-bit files reach 16


@dataclass(frozen=True)
class InspectionReport:
    """Findings about a raw data set.

    Attributes:
        counts: labelled images by split (empty where the data set has none) and class.
        notes: what people must know about a published data set.
        blank: frames and slices that show nothing, which are left out.
        clinical: what the headers say; None where no file is DICOM or NIfTI.
        duplicates: extra copies (all but one) by the splits that they are in, e.g. `train` or `train, validation`.
        duplicate_files: the files of each group of equal images.
        contradictions: those groups whose labels differ.
        near_duplicates: copies that were re-encoded, resized or brightened.
        problem: why `prepare` would refuse the data set; empty where it would not.
        planned: as `counts`, after `prepare`; empty where it would refuse.
    """

    path: str
    layout: str
    images: int
    unlabelled: int
    counts: dict[str, dict[str, int]]
    raw: RawImages
    patients: int
    patients_in_several_splits: list[str]
    duplicates: dict[str, int]
    duplicate_files: list[list[str]]
    contradictions: list[list[str]]
    near_duplicates: NearDuplicates
    unusable: dict[str, str]
    ignored: list[str]
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
    """Read every image of a raw data set (a folder or an `.npz`).

    Raises:
        DcubeError: where the layout is not recognised. Everything else is in the report.
    """
    dataset = read_raw_dataset(path, data)
    summaries = scan_images(dataset, data)
    table = tabulate(dataset, summaries)
    usable = table[table["sha256"] != ""]
    groups = duplicate_groups(usable)
    near = describe_near_duplicates(usable)
    splits_of_patient = (
        usable[(usable["patient"] != "") & (usable["split"] != "")].groupby("patient")["split"].nunique()
    )
    headers = summarise_headers(path, visible_files(path)) if dataset.is_medical else None
    return InspectionReport(
        path=str(path),
        layout=dataset.layout,
        images=len(table),
        unlabelled=int((table["label"] == "").sum()),
        counts=count_by_class(table),
        raw=describe_raw_images(summaries),
        patients=table["patient"].replace("", None).nunique(),
        patients_in_several_splits=list(splits_of_patient.index[splits_of_patient > 1]),
        duplicates=_extra_copies(groups),
        duplicate_files=[list(rows["file"]) for rows in groups],
        contradictions=[list(rows["file"]) for rows in groups if len(set(rows["label"]) - {""}) > 1],
        near_duplicates=near,
        unusable={
            record.file: one.problem for record, one in zip(dataset.records, summaries, strict=True) if one.problem
        },
        ignored=list(dataset.ignored),
        notes=list(dataset.notes),
        warnings=_warnings(dataset, summaries, headers) + _leak_warnings(near),
        clinical=headers,
        blank=sum(summary.is_blank for summary in summaries),
        **_plan(dataset, summaries, table, data),
    )


def _plan(dataset: RawDataset, summaries: list[ImageSummary], table: pd.DataFrame, data: Data) -> dict:
    """What `prepare` would make of it."""
    try:
        refuse_unusable(dataset, summaries)
        plan = plan_splits(table, data)
    except DcubeError as error:
        return {"problem": str(error)}
    return {"planned": count_by_class(plan.table), "dropped": len(plan.dropped)}


def _extra_copies(groups: list[pd.DataFrame]) -> dict[str, int]:
    """Inside each split all copies but one are extra; images that are in several splits count once for those."""
    extra: Counter[str] = Counter()
    for rows in groups:
        within = rows["split"].value_counts()
        extra.update({str(split) or "all": int(n) - 1 for split, n in within.items() if n > 1})
        if len(within) > 1:
            extra[", ".join(sorted(split or "no split" for split in within.index))] += 1
    return dict(sorted(extra.items()))


def _warnings(dataset: RawDataset, summaries: list[ImageSummary], headers: HeaderSummary | None) -> list[str]:
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
    if dataset.table()["patient"].eq("").all():
        warnings.append("no patients are known: images of one patient may be in several splits")
    if headers and headers.burned_in.get("yes"):
        warnings.append(f"{headers.burned_in['yes']} files declare burned-in annotations: mask them")
    if headers and headers.identifying:
        warnings.append(
            "the headers identify people: `prepare` uses none of these fields, but data/ and its remote contain them"
        )
    return warnings


def _leak_warnings(near: NearDuplicates) -> list[str]:
    leaks = [
        f"near duplicates in several splits (data leakage): {abbreviated(files)}" for files in near.in_several_splits
    ]
    return leaks + [f"one picture with several labels: {abbreviated(files)}" for files in near.with_several_labels]
