"""Checks for table columns that would be ignored without a message: repeated, misspelt or named differently."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dcube.errors import DcubeError

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
READ = ("file", "label", "patient_id", "split")
PERSON = (
    r"patient(?:en|in)?|subject|case|person|participant|individual|pazient[ei]|paciente|proband(?:en)?|sujet|sujeto"
)
NUMBER = r"ids?|uid|name|no|nr|num|number|nummer|code|key"
# Studies, lesions and examinations are finer than patients, but better than nothing.
PATIENT = re.compile(
    rf"(?:{PERSON})s?(?:{NUMBER})?|(?:{NUMBER})(?:d[eu])?(?:{PERSON})|p(?:at)?id|mrn|identifiant|fall(?:{NUMBER})"
    r"|(?:study|lesion|exam)(?:instance)?u?id|accession(?:id|no|number)"
)


def refuse_confusing(path: Path, columns: Sequence[str]) -> None:
    """Refuse repeated columns, of which only the last would be read, and misspelt ones, which would not be read."""
    known = {plain_title(name): name for name in READ}
    for column, count in Counter(columns).items():
        if count > 1:
            raise DcubeError(f"{path}: the column {column!r} is there {count} times: keep one of them")
        meant = known.get(plain_title(column), column)
        if meant != column:
            raise DcubeError(f"{path}: the column {column!r} would not be used: call it {meant!r}, or remove it")


def refuse_misnamed(path: Path, rows: Sequence[dict[str, str]], unused: Sequence[str]) -> None:
    """Refuse an unused column of patients (by its title) or splits (by its values) if the table has no proper one."""
    present = set(rows[0]) if rows else set()
    for column in unused:
        values = {row[column].casefold() for row in rows} - {""}
        named = [row[column] for row in rows if row[column]]
        meant = ""
        if len(values) > 1 and values <= SPLIT_NAMES.keys():
            meant = "split"
        elif is_patient_column(column) and len(set(named)) < len(named):
            meant = "patient_id"
        if meant and meant not in present:
            raise DcubeError(
                f"{path}: the column {column!r} would not be used, and the split would be another one: call it "
                f"{meant!r}, or remove it"
            )


def is_patient_column(title: str) -> bool:
    """Return whether the title of a column or an array is one that is used for patients."""
    return bool(PATIENT.fullmatch(plain_title(title)))


def plain_title(column: str) -> str:
    """Return a title in small letters and digits alone, so that spellings of one title are equal."""
    return re.sub(r"[\W_]", "", column).casefold()
