"""Checks for labels and patients with several spellings, changed by spreadsheets, or that mean "unknown"."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from decimal import Decimal
from pathlib import PurePosixPath

from dcube.data.layouts.copied_names import originals
from dcube.data.layouts.damaged_cells import EXPORT, damaged_labels, damaged_patients
from dcube.data.layouts.doubtful_names import says_no_class
from dcube.data.layouts.raw_dataset import ImageRecord
from dcube.data.readers.unknown_values import says_nothing
from dcube.errors import DcubeError, abbreviated, agreeing

TRUTHS = {  # as spreadsheets write them in several languages
    **dict.fromkeys(("true", "wahr", "vrai", "verdadero", "verdadeiro", "vero", "waar", "prawda"), "1"),
    **dict.fromkeys(("false", "falsch", "faux", "falso", "onwaar", "fałsz"), "0"),
}
NUMBER = re.compile(r"[+-]?\d{1,18}([.,]\d{0,9})?(e[+-]?\d{1,3})?")
ROMAN = dict(zip(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"), map(str, range(1, 11)), strict=True))
LEADING_ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")
TURKISH = str.maketrans({"ı": "i", "\u0307": None})  # lower-case forms of I and İ: the dot is a letter of its own
SEVERAL = re.compile(r"[|;,&+/]| and ")
NOTHING_KNOWN = {
    "label": "if it is a class, call it by another name (no_finding); else leave the cell empty, or call the folder "
    "unlabelled",
    "patient": "write nothing where it is not known, or call it by another name where it is",
}
FEWEST_NUMBERED = 20  # folders that differ in a number alone are patients, not classes
PERSON = re.compile(r"(patient|subject|sub|pat|case|study|series|person|scan)[ _-]?0*\d+", re.IGNORECASE)
PATIENT = re.compile(rf"{PERSON.pattern}|p[ _-]?\d+|(?:.*\D)?(?:0\d{{2,}}|\d{{4,}})", re.IGNORECASE)


# Letters of other alphabets that look like Latin ones.
LOOK_ALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧαινορυχ", "ABESIJKMHOPCTYXaesijopcyxhdqwABEZHIKMNOPTYXaivopux"
)


def one_spelling(name: str) -> str:
    """Return a name with composed accents and without zero-width and control characters and outer spaces."""
    shown = "".join(
        " " if letter.isspace() else "" if unicodedata.category(letter) in ("Cc", "Cf") else letter for letter in name
    )
    return unicodedata.normalize("NFC", shown).strip()


def refuse_confused(records: list[ImageRecord], where: str) -> None:
    """Refuse labels and patients that differ only in spelling, mean "unknown", or were changed by a spreadsheet.

    Raises:
        DcubeError: if there are such labels or patients; the message names them and their numbers of images.
    """
    labels = Counter(record.label for record in records if record.label)
    patients = Counter(record.patient for record in records if record.patient)
    for patient, damage in damaged_patients(patients):
        raise DcubeError(f"{where}: {_have(patients[patient])} the patient {patient!r}, {damage}: {EXPORT}")
    for what, found in (("label", labels), ("patient", patients)):
        if unknown := [name for name in found if says_nothing(name)]:
            raise DcubeError(f"{where}: {_have(found[unknown[0]])} the {what} {unknown[0]!r}: {NOTHING_KNOWN[what]}")
    if {"-1", "0", "1"} <= labels.keys():
        raise DcubeError(
            f"{where}: {_have(labels['-1'])} the label '-1' beside '0' and '1': write nothing where it is not "
            "known, or name the classes by words"
        )
    _refuse_no_labels(labels, where)
    _refuse_look_alikes(labels, where)
    _refuse_spellings(labels, "label", where)
    _refuse_copies(labels, where)
    _refuse_spellings(patients, "patient", where)
    _refuse_people(labels, {part for record in records for part in PurePosixPath(record.file).parts}, where)


def _refuse_no_labels(labels: Counter[str], where: str) -> None:
    """Refuse labels that spreadsheets have changed, names such as `New folder`, and cells with several labels."""
    for label, damage in damaged_labels(labels):
        raise DcubeError(f"{where}: {_have(labels[label])} the label {label!r}, {damage}: correct it")
    for label, count in labels.items():
        if says_no_class(label):
            raise DcubeError(
                f"{where}: {_have(count)} the label {label!r}, which is not the name of a class: move them "
                "into their classes or out of the set, or, if they have no label, leave the cell empty or call the "
                "folder unlabelled (if it is a class, call it by another name)"
            )
        parts = {part.strip() for part in SEVERAL.split(label)}
        if len(parts) > 1 and parts <= labels.keys():
            raise DcubeError(
                f"{where}: {_have(count)} the several labels {label!r}, and an image has one: choose one, leave "
                "the cell empty, or call it by another name if it is a class"
            )


def _refuse_spellings(found: Counter[str], what: str, where: str) -> None:
    spellings: dict[str, list[str]] = {}
    for name in found:
        spellings.setdefault(_written_once(name), []).append(name)
    for names in spellings.values():
        if len(names) > 1:
            counted = " and ".join(f"{name!r} ({found[name]})" for name in sorted(names))
            raise DcubeError(
                f"{where}: the {what}s {counted} differ only in case, spaces or the format of a number: write one, or, "
                "if they are two, names that differ more"
            )


def _refuse_copies(labels: Counter[str], where: str) -> None:
    known = {_written_once(label): label for label in labels}
    for label in labels:
        for name in map(_written_once, originals(label)):
            if name in known:
                raise DcubeError(
                    f"{where}: the label {label!r} ({labels[label]}) is called like a copy of {known[name]!r} "
                    f"({labels[known[name]]}): put the images together, remove the copy, or rename it if it is a class"
                )


def _refuse_look_alikes(labels: Counter[str], where: str) -> None:
    seen: dict[str, str] = {}
    for label in labels:
        other = seen.setdefault(label.translate(LOOK_ALIKES), label)
        if other != label:
            raise DcubeError(
                f"{where}: the labels {other!r} and {label!r} look alike and are written in letters of two alphabets "
                f"({other!a} and {label!a}): write one"
            )


def _written_once(name: str) -> str:
    """Normalise a name: `0.0`, `00`, `0e0` and `False` give 0; `Grade II` and `grade_2` are equal, as are P1 and P01.

    Two people may be called P1 and P01, by two hospitals. But whoever joins these lists can tell them apart, and one
    person in two splits would not be noticed.
    """
    name = unicodedata.normalize("NFKC", name).strip().casefold().translate(TURKISH)
    name = TRUTHS.get(name, name)
    if NUMBER.fullmatch(name):
        return str(Decimal(name.replace(",", ".")).normalize())
    before, space, last = re.sub(r"[\s_-]+", " ", name).rpartition(" ")
    return LEADING_ZEROS.sub("", before + space + (ROMAN.get(last, last) if before else last))


def look_like_people(folders: Collection[str]) -> bool:
    """Return whether folders look like patients: named by a word and number or a long number, or many by any number."""
    alike = Counter(re.sub(r"\d+", "#", folder) for folder in folders)
    return all(map(PATIENT.fullmatch, folders)) or max(alike.values(), default=0) >= FEWEST_NUMBERED


def _refuse_people(labels: Iterable[str], folders: set[str], where: str) -> None:
    """Refuse labels that look like patients: each patient's folder would become a class."""
    people = [label for label in labels if PERSON.fullmatch(label)]
    alike = Counter(re.sub(r"\d+", "#", label) for label in labels if label in folders)
    if (len(people) > 1 and len(people) == len(set(labels))) or max(alike.values(), default=0) >= FEWEST_NUMBERED:
        raise DcubeError(
            f"{where}: the labels {abbreviated(sorted(labels))} look like patients: put their folders into one folder "
            "for each class, or add a metadata.csv"
        )


def _have(images: int) -> str:
    return agreeing(images, "image has", "images have")
