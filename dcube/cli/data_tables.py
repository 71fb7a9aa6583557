"""Terminal output of `dcube data check`."""

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from dcube.artifacts.schemas.dataset import Extent, owners_of
from dcube.data.checks.clinical import HeaderSummary
from dcube.data.group_checks import BY_IMAGE, BY_PATIENT, GroupCheck
from dcube.data.inspection import InspectionReport
from dcube.data.readers.modes import modes_in_words
from dcube.errors import abbreviated, counted

COLUMNS_SHOWN = 20


def inspection_tables(report: InspectionReport) -> Group:
    """Return the report as tables for a terminal."""
    facts = Table(show_header=False, title=f"{report.path}: {report.layout}", title_justify="left")
    for name, value in _facts(report).items():
        facts.add_row(name, value)
    return Group(facts, _class_table(report), *_group_table(report))


def _facts(report: InspectionReport) -> dict[str, str]:
    several, near = report.patients_in_several_splits, report.near_duplicates
    extra = [f"{count} in {splits}" for splits, count in report.duplicates.items()]
    facts = {
        "images": f"{report.images}, {report.unlabelled or 'none'} of them without a label"
        + (f"; {report.blank} blank slices are left out" if report.blank else ""),
        "stored as": modes_in_words(report.raw.modes),
        "width": _sides(report.raw.width),
        "height": _sides(report.raw.height),
        owners_of(report.grouping): f"{report.patients or 'unknown'}"
        + (f", in several splits: {abbreviated(several)}" if several else ""),
        "exact duplicates": _named("; ".join(extra), report.duplicate_files),
        "near duplicates": _named(f"{near.images} images in {_groups(near.groups)}", report.near_duplicate_files),
        "contradicting labels": _named(f"{_groups(len(report.contradictions))} of equal images", report.contradictions),
        "unusable": abbreviated([f"{file} ({why})" for file, why in report.unusable.items()]) or "none",
        "left out": "\n".join(f"{len(files)} × {why}: {abbreviated(files)}" for why, files in report.left_out.items())
        or "none",
    }
    facts |= {"unused columns": abbreviated(report.unused_columns, COLUMNS_SHOWN)} if report.unused_columns else {}
    facts |= _header_facts(report.clinical) if report.clinical else {}
    facts |= {"notes": "\n".join(report.notes)} if report.notes else {}
    facts |= {"warning": "\n".join(report.warnings)} if report.warnings else {}
    noun = "copy" if report.dropped == 1 else "copies"
    dropped = f", dropping {report.dropped} training {noun} of test or validation images" if report.dropped else ""
    return facts | {"prepare": f"would refuse it: {report.problem}" if report.problem else f"accepts it{dropped}"}


def _sides(extent: Extent | None) -> str:
    if not extent:
        return ""
    if extent.smallest == extent.largest:
        return f"{extent.largest} pixels"
    return f"{extent.smallest} … {extent.largest} pixels, median {extent.median:g}"


def _header_facts(headers: HeaderSummary) -> dict[str, str]:
    spacing = f", spacing {headers.spacing[0]:.3g} … {headers.spacing[1]:.3g} mm" if headers.spacing else ""
    frames = f"{headers.frames[0]} … {headers.frames[1]} frames or slices per file" if headers.frames else ""
    return {
        "kinds": _counted(headers.kinds),
        "modalities": _counted(headers.modalities),
        "geometry": frames + spacing,
        "identifying": _counted(headers.identifying),
        "names in the pixels": _counted(headers.burned_in),
        "missing tags": _counted(headers.missing),
    }


def _counted(counts: dict[str, int]) -> str:
    return counted(counts) or "none"


def _groups(count: int) -> str:
    return f"{count} group{'' if count == 1 else 's'}"


def _named(count: str, groups: list[list[str]]) -> str:
    return f"{count}: {abbreviated([' = '.join(files) for files in groups])}" if groups else "none"


def _group_table(report: InspectionReport) -> list[RenderableType]:
    """Return a table of how much a split leaks by what it keeps together, and values of data.group_by to copy."""
    measured = [check for check in report.group_checks if check.accuracy is not None]
    if len(measured) < 2:  # splits by single images have nothing to be compared with
        return []
    table = Table(
        Column("kept together", max_width=12), "groups", "images in a group", "same group",
        Column("same class", no_wrap=True), Column("at random", no_wrap=True),
        title="How much a split by image leaks, measured on the nearest image by pixels", title_justify="left",
    )  # fmt: skip
    legend = (
        "Same group, same class: of how many images the nearest one has it; the class while groups stay together. At "
        "random: the class with groups of the same sizes drawn at random. Where same class is clearly lower (*), a "
        f"split by image leaks. The most frequent class alone: {_most_frequent(report.counts):.3f}."
    )
    names = {BY_IMAGE: "image, with its copies", BY_PATIENT: "patient"}
    values = [check.by for check in measured if check.by not in names]
    names |= {value: f"group_by {number}" for number, value in enumerate(values, 1)}
    for check in measured:
        sizes = f"{check.smallest} … {check.largest}, median {check.median:g}"
        same_class, mark = f"{check.accuracy:.3f}", " *" if check.fall else ""
        at_random = "" if check.by == BY_IMAGE else f"{check.at_random:.3f} ± {check.spread:.3f}"
        table.add_row(names[check.by], str(check.groups), sizes, f"{check.own_group:.0%}", same_class + mark, at_random)
    lines = [line for check in measured if check.by in values for line in _value_of(check, names[check.by])]
    return [table, *lines, Text(legend, style="italic")]


def _value_of(check: GroupCheck, name: str) -> list[Text]:
    """Return the value of data.group_by as a line to copy, and which images it leaves on their own."""
    value = Text(f"{name}: {check.by}", no_wrap=True, overflow="ignore")
    count = len(check.strays)
    alone = f"  {count} image{'' if count == 1 else 's'} in no group: {abbreviated(check.strays, limit=1)}"
    return [value, Text(alone)] if check.strays else [value]


def _most_frequent(counts: dict[str, dict[str, int]]) -> float:
    """Return the share of the most frequent class among the labelled images."""
    classes = sum((Counter(of_split) for of_split in counts.values()), Counter())
    return max(classes.values()) / classes.total()


def _class_table(report: InspectionReport) -> Table:
    """Return the labelled images by class and split, as found and as `prepare` would use them."""
    columns = [(split or "given", counts) for split, counts in report.counts.items()]
    columns += [(f"{split} (prepared)", counts) for split, counts in report.planned.items()]
    title = "Labelled images, as given and as `prepare` splits them" if report.planned else "Labelled images, as given"
    table = Table("class", *(name for name, _ in columns), title=title, title_justify="left")
    for label in sorted({label for _, counts in columns for label in counts}):
        table.add_row(label, *(str(counts.get(label, 0)) for _, counts in columns))
    return table
