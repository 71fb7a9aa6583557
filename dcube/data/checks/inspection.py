"""What a raw data set holds, and whether `prepare` would accept it: before anything is trained."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
from rich.console import Group
from rich.table import Table

from dcube.artifacts.schemas.dataset import Extent, NearDuplicates, RawImages
from dcube.config.schema import Data
from dcube.data.checks.clinical import Clinical, clinical
from dcube.data.layouts.detection import open_source
from dcube.data.layouts.listing import visible_files
from dcube.data.layouts.source import Seen, Source
from dcube.data.naming import some
from dcube.data.preparing import count
from dcube.data.splits import describe_near_duplicates, duplicate_groups, plan_splits
from dcube.data.survey import describe, refuse_unusable, survey, tabulate
from dcube.errors import DcubeError

DARK = 64  # of 255: 12-bit values in 16-bit files reach 16


@dataclass(frozen=True)
class Report:
    """Findings about a raw data set.

    Attributes:
        counts: labelled images by split (empty where the set has none) and class.
        notes: what people must know of a published set.
        blank: frames and slices that show nothing, which are left out.
        clinical: what the files say beside their pixels; None where none is DICOM or NIfTI.
        duplicates: extra copies (all but one) by the splits that they stand in, e.g. `train` or `train, validation`.
        duplicate_files: the files of each group of equal images.
        contradictions: those groups whose labels differ.
        near_duplicates: copies in other bytes.
        problem: why `prepare` would refuse the set; empty where it would not.
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
    clinical: Clinical | None
    blank: int
    problem: str = ""
    planned: dict[str, dict[str, int]] = field(default_factory=dict)
    dropped: int = 0

    def as_dict(self) -> dict:
        own = {"raw": self.raw.model_dump(), "near_duplicates": self.near_duplicates.model_dump()}
        return {**asdict(self), **own, "accepted": not self.problem}


def inspect(path: Path, data: Data) -> Report:
    """Look at every image of a raw data set (a folder or an `.npz`).

    Raises:
        DcubeError: where the layout is not recognised. Everything else is in the report.
    """
    source = open_source(path, data)
    seen = survey(source, data)
    table = tabulate(source, seen)
    usable = table[table["sha256"] != ""]
    groups = duplicate_groups(usable)
    near = describe_near_duplicates(usable)
    splits_of_patient = (
        usable[(usable["patient"] != "") & (usable["split"] != "")].groupby("patient")["split"].nunique()
    )
    said = clinical(path, visible_files(path)) if source.identifying else None
    return Report(
        path=str(path),
        layout=source.layout,
        images=len(table),
        unlabelled=int((table["label"] == "").sum()),
        counts=count(table),
        raw=describe(seen),
        patients=table["patient"].replace("", None).nunique(),
        patients_in_several_splits=list(splits_of_patient.index[splits_of_patient > 1]),
        duplicates=_extra_copies(groups),
        duplicate_files=[list(rows["file"]) for rows in groups],
        contradictions=[list(rows["file"]) for rows in groups if len(set(rows["label"]) - {""}) > 1],
        near_duplicates=near,
        unusable={record.file: one.problem for record, one in zip(source.records, seen, strict=True) if one.problem},
        ignored=list(source.ignored),
        notes=list(source.notes),
        warnings=_warnings(source, seen, said) + _leaks(near),
        clinical=said,
        blank=sum(one.blank for one in seen),
        **_outcome(source, seen, table, data),
    )


def _outcome(source: Source, seen: list[Seen], table: pd.DataFrame, data: Data) -> dict:
    try:
        refuse_unusable(source, seen)
        plan = plan_splits(table, data)
    except DcubeError as error:
        return {"problem": str(error)}
    return {"planned": count(plan.table), "dropped": len(plan.dropped)}


def _extra_copies(groups: list[pd.DataFrame]) -> dict[str, int]:
    """Inside each split all copies but one are extra; images that stand in several splits count once for those."""
    extra: Counter[str] = Counter()
    for rows in groups:
        within = rows["split"].value_counts()
        extra.update({str(split) or "all": int(n) - 1 for split, n in within.items() if n > 1})
        if len(within) > 1:
            extra[", ".join(sorted(split or "no split" for split in within.index))] += 1
    return dict(sorted(extra.items()))


def _warnings(source: Source, seen: list[Seen], said: Clinical | None) -> list[str]:
    warnings = []
    deep = [one.brightest for one in seen if one.mode.startswith(("I", "F", "uint16", "float", "DICOM MONOCHROME"))]
    if deep and max(deep) < DARK:
        share = max(deep) / 255
        warnings.append(
            f"images of more than 8 bits use only {share:.1%} of their range and would be nearly black: "
            "rescale them (DICOM: set data.window_center and data.window_width)"
        )
    if source.table()["patient"].eq("").all():
        warnings.append("no patients are known: images of one patient may stand in several splits")
    if said and said.burned_in.get("yes"):
        warnings.append(f"{said.burned_in['yes']} files say that names stand in the picture itself: black them out")
    if said and said.identifying:
        warnings.append(
            "the files tell who people are (identifying): `prepare` takes none of it, but data/ and its remote hold it"
        )
    return warnings


def _leaks(near: NearDuplicates) -> list[str]:
    leaks = [f"one picture in several splits, which tests memory: {some(files)}" for files in near.in_several_splits]
    return leaks + [f"one picture with several labels: {some(files)}" for files in near.with_several_labels]


def render(report: Report) -> Group:
    """The report for a terminal."""
    facts = Table(show_header=False, title=f"{report.path}: {report.layout}", title_justify="left")
    for name, value in _facts(report).items():
        facts.add_row(name, value)
    return Group(facts, _class_table(report))


def _facts(report: Report) -> dict[str, str]:
    several, near = report.patients_in_several_splits, report.near_duplicates
    extra = [f"{count} in {splits}" for splits, count in report.duplicates.items()]
    facts = {
        "images": f"{report.images}, {report.unlabelled} of them without a label"
        + (f"; {report.blank} blank slices are left out" if report.blank else ""),
        "stored as": ", ".join(f"{mode} ({count})" for mode, count in report.raw.modes.items()),
        "width": _sides(report.raw.width),
        "height": _sides(report.raw.height),
        "patients": f"{report.patients or 'unknown'}" + (f", in several splits: {some(several)}" if several else ""),
        "exact duplicates": "; ".join(extra) or "none",
        "near duplicates": f"{near.images} images of {near.groups} pictures" if near.images else "none",
        "contradicting labels": "; ".join(some(files) for files in report.contradictions) or "none",
        "unusable": some([f"{file} ({why})" for file, why in report.unusable.items()]) or "none",
        "other files": some(report.ignored) or "none",
    }
    facts |= _clinical_facts(report.clinical) if report.clinical else {}
    facts |= {"to know": "\n".join(report.notes)} if report.notes else {}
    facts |= {"warning": "\n".join(report.warnings)} if report.warnings else {}
    dropped = f", dropping {report.dropped} copies that stand in two splits" if report.dropped else ""
    return facts | {"prepare": f"would refuse it: {report.problem}" if report.problem else f"accepts it{dropped}"}


def _sides(extent: Extent | None) -> str:
    return f"{extent.smallest} … {extent.largest}, median {extent.median:g}" if extent else ""


def _clinical_facts(said: Clinical) -> dict[str, str]:
    spacing = f", spacing {said.spacing[0]:.3g} … {said.spacing[1]:.3g} mm" if said.spacing else ""
    frames = f"{said.frames[0]} … {said.frames[1]} frames or slices a file" if said.frames else ""
    return {
        "kinds": _counted(said.kinds),
        "modalities": _counted(said.modalities),
        "geometry": frames + spacing,
        "identifying": _counted(said.identifying),
        "names in the picture": _counted(said.burned_in),
        "missing tags": _counted(said.missing),
    }


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"


def _class_table(report: Report) -> Table:
    """Labelled images by class and split, as found and as `prepare` would use them."""
    columns = [(split or "given", counts) for split, counts in report.counts.items()]
    columns += [(f"{split} (prepared)", counts) for split, counts in report.planned.items()]
    table = Table("class", *(name for name, _ in columns))
    for label in sorted({label for _, counts in columns for label in counts}):
        table.add_row(label, *(str(counts.get(label, 0)) for _, counts in columns))
    return table
