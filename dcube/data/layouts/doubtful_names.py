"""Doubtful names of classes and patients: leftovers of sorting, second parts of a class, dates, placeholders."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath
from statistics import median

from dcube.data.layouts.damaged_cells import is_whole_date
from dcube.data.layouts.raw_dataset import ImageRecord
from dcube.errors import abbreviated

NUMBERED = r"(?:[ _-]*\(?\d+\)?)?"
KEPT_APART = r"(?:train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?|hold[ _-]?out|external|internal|unseen|inference)"
NO_CLASS = re.compile(
    rf"(?:new folder|untitled( folder)?|neuer ordner|unbenannt(er ordner)?|nouveau dossier|dossier sans titre"
    rf"|nueva carpeta|carpeta sin título|nuova cartella|nova pasta|nieuwe map|nowy folder|unsorted|unsortiert|non trié"
    rf"|to[ _-]?do|to[ _-]?(?:sort|check)|tbd|trash|papierkorb|corbeille|recycle[ _-]?bin|back[ _-]?ups?|bak"
    rf"|un-?label+ed[ _-].*|(?:no|not)[ _-]?label(?:s|l?ed)?|copy|kopie|copie|copia|pred(?:s|ict(?:s|ed|ions?)?)?"
    rf"|inference|hold[ _-]?outs?|submissions?"
    rf"|{KEPT_APART}[ _-]?(?:tests?|validation|cases?|sets?|data|cohorts?|samples?|images?|examples?|files?))"
    rf"{NUMBERED}",
    re.IGNORECASE,
)
PERHAPS_NO_CLASS = re.compile(
    rf"(?:old|misc(?:ellaneous)?|te?mp|wip|archive?|raw|(?:un)?processed|outputs?|results?|excluded?|ignored?|discarded|skipped|sonstiges|verschiedenes|divers"
    rf"|external|new|samples?|examples?|beispiele?|exemples?|ejemplos?|esempi|demos?|previews?|docs?|documentation"
    rf"|annotated|augmented)"
    rf"{NUMBERED}",
    re.IGNORECASE,
)
OPPOSITES = {
    "old": {"new", "young", "recent", "fresh"},
    "new": {"old"},
    "external": {"internal"},
    "sample": {"blank", "control", "background"},
    "samples": {"blanks", "controls", "background"},
}
SECOND_PART = re.compile(r"(.*[^\W\d_]{2})[ _]?[2-9]")  # as macOS names a copy, and people a second part
PLACEHOLDER = 10  # times the median number of images of the other patients


def says_no_class(label: str) -> bool:
    """Return whether file managers or people give this name to folders that are still to be sorted or removed."""
    return bool(NO_CLASS.fullmatch(label))


def describe_doubtful_names(records: Sequence[ImageRecord]) -> list[str]:
    """Return sentences about classes and patients with doubtful names, and about folders of other classes.

    No sentence names a patient or a file.
    """
    patients = Counter(record.patient for record in records if record.patient)
    return [
        *_about_classes({record.label for record in records if record.label}),
        *_about_patients(patients),
        *_about_folders(records),
    ]


def _about_classes(classes: Collection[str]) -> Iterator[str]:
    known = {label.casefold() for label in classes}
    for label in sorted(classes):
        opposites = OPPOSITES.get(label.casefold(), set())
        if PERHAPS_NO_CLASS.fullmatch(label) and known.isdisjoint(opposites):
            yield f"the class {label!r} may be a leftover of sorting: rename it if it is a class, else remove it"
        base = SECOND_PART.fullmatch(label)
        if base and base[1].casefold() in known:
            yield f"the class {label!r} looks like a second part of {base[1]!r}: merge the two if it is one"


def _about_patients(patients: Counter[str]) -> Iterator[str]:
    if len(patients) > 1 and all(map(is_whole_date, patients)):
        yield (
            "the patients have dates as names: images of two people with the same date count as one patient's, and "
            "images of one person with two dates as two patients'. Give each person a number"
        )
    counts = sorted(patients.values())
    if len(counts) > 2 and counts[-1] > max(PLACEHOLDER * median(counts[:-1]), sum(counts[:-1])):
        yield (
            f"one patient has {counts[-1]} of {sum(counts)} images, and the others have a median of "
            f"{median(counts[:-1]):g}: leave the name empty if it stands for unknown patients"
        )


def _about_folders(records: Sequence[ImageRecord]) -> Iterator[str]:
    labels = {_plain(record.label): record.label for record in records if record.label}
    others: Counter[str] = Counter()
    named: set[str] = set()
    images = 0
    for record in records:
        folders = {_plain(folder) for folder in PurePosixPath(record.file).parts[:-1]} & labels.keys()
        named |= folders
        if record.label and (other := folders - {_plain(record.label)}):
            images += 1
            others.update(f"{labels[folder]!r} with the label {record.label!r}" for folder in other)
    if images and len(named) > 1:
        verb = "lies" if images == 1 else "lie"
        pairs = abbreviated([f"{count} in {pair}" for pair, count in others.most_common()])
        yield (
            f"{images} of {len(records)} images {verb} in a folder that is called like another class ({pairs}): "
            "correct the labels, or move the images"
        )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()
