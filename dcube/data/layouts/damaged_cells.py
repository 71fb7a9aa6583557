"""Labels and identifiers that spreadsheets have changed to dates, times, errors, or numbers with fewer digits."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from dcube.data.layouts.table_rows import at_lines, quoted
from dcube.errors import DcubeError

MONTHS = (
    r"jan(?:uary|uari|uar|vier|eiro|v)?|feb(?:ruary|ruari|ruar|rero|braio)?|f[ée]v(?:rier|ereiro|r)?"
    r"|mar(?:ch|zo|ço|s)?|mär(?:z)?|maerz|mrz|maart|mrt|apr(?:ile?)?|avr(?:il)?|abr(?:il)?|mayo?|mai[o]?|maggio|mei"
    r"|jun[ei]?|junio|junho|juin|giu(?:gno)?|jul[yi]?|julio|julho|juil(?:let)?|lug(?:lio)?|aug(?:ust(?:us)?)?"
    r"|ao[uû]t|agosto|sep(?:t(?:ember|embre|iembre)?)?|settembre|setembro|o[ck]t(?:ober|obre|ubre)?|ottobre|outubro"
    r"|nov(?:ember|embre|iembre|embro)?|de[cz](?:ember|embre|embro)?|déc(?:embre)?|diciembre|dicembre|enero|gennaio"
)
NAMED_MONTH = re.compile(  # full names only: OCT and MAR have other meanings
    r"january|januari?|janvier|janeiro|enero|gennaio|february|februari?|février|febrero|febbraio|fevereiro|march|mars"
    r"|märz|maerz|maart|marzo|março|april|avril|abril|aprile|may|mai|mayo|maio|maggio|mei|june|juni|juin|junio|junho"
    r"|giugno|july|juli|juillet|julio|julho|luglio|august|augustus|août|agosto|(?:sept?|set|oct|okt|ott|out|nov|dec|dez"
    r"|déc|dic)(?:ember|tember|embre|tembre|iembre|tiembre|embro|ober|obre|ubre|ubro)",
    re.IGNORECASE,
)
DAY, YEAR, BETWEEN = r"(?:0?[1-9]|[12]\d|3[01])", r"\d\d(?:\d\d)?", r"(?:\. ?|-| )"
MONTH = r"(?:0?[1-9]|1[0-2])"
WITH_MONTH = re.compile(
    rf"{DAY}{BETWEEN}(?:{MONTHS})\.?(?:{BETWEEN}{YEAR})?|(?:{MONTHS})\.?{BETWEEN}{YEAR}", re.IGNORECASE
)
WHOLE_WITH_MONTH = re.compile(rf"{DAY}{BETWEEN}?(?:{MONTHS})\.?{BETWEEN}?{YEAR}", re.IGNORECASE)
EASTERN = re.compile(r"(?:\d{4}年)?\d\d?月(?:\d\d?日)?")
WHOLE = re.compile(
    rf"(?:19|20)\d\d([-/.]){MONTH}\1{DAY}(?:[ t].*)?|{DAY}([-/.]){DAY}\2(?:19|20)\d\d(?:[ t].*)?", re.IGNORECASE
)
SHORT = re.compile(
    rf"{DAY}([-/.]){DAY}\1\d\d(?:[ t].*)?|(?:19|20)\d\d[-/.]{MONTH}|{MONTH}[-/.](?:19|20)\d\d", re.IGNORECASE
)
ERROR = re.compile(r"#[^\s#]*[!?]|#\w/\w|#NV|##+|Err:\d{3}", re.IGNORECASE)
SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?E[+-]\d\d+", re.IGNORECASE)
TIME = re.compile(r"\d\d?:\d\d:\d\d( [ap]m)?", re.IGNORECASE)
LONG = re.compile(r"[1-9]\d{15,}")
KEPT_DIGITS = 15
FEWEST_ZEROS = 3  # after the kept digits of all long numbers; so many occur by chance in one data set of a thousand

EXPORT = "export the identifiers again from their source, with their column formatted as text"
A_DATE = "a date (spreadsheets turn 1-2 into one)"


def refuse_damaged(path: Path, rows: Sequence[tuple[int, Mapping[str, str]]]) -> None:
    """Refuse labels and patients that a spreadsheet has changed.

    Args:
        rows: line numbers and cells of the table at `path`.

    Raises:
        DcubeError: if there are any; the message names lines and column.
    """
    for column, damaged, mend in (("label", damaged_labels, "correct it"), ("patient_id", damaged_patients, EXPORT)):
        cells = {line: cell for line, row in rows if (cell := row.get(column))}
        found = dict(damaged(dict.fromkeys(cells.values())))
        for what in found.values():
            alike = {line: cell for line, cell in cells.items() if found.get(cell) == what}
            where = at_lines(path, list(alike))
            raise DcubeError(f"{where}, column {column!r}: {quoted(alike.values())} is {what}: {mend}")


def damaged_labels(labels: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each label that a spreadsheet has changed, with a description of what it is now."""
    for label in labels:
        if is_date(label) or SHORT.fullmatch(label) or (not label.isupper() and NAMED_MONTH.fullmatch(label)):
            yield label, A_DATE
        elif what := _damaged(label):
            yield label, what


def damaged_patients(patients: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each patient that a spreadsheet has changed, with a description of what it is now.

    A date counts as changed unless an identifier that is not a date has the same shape: 2020-01-02 beside 2020-14-02
    is not changed. If all patients are dates, those that `is_whole_date` recognises are accepted.
    """
    shapes = {_shape(patient) for patient in patients if not is_date(patient)}
    cut = _cut(patients)
    for patient in patients:
        alike = _shape(patient) in shapes
        if is_date(patient) and not alike and (shapes or not is_whole_date(patient)):
            yield patient, A_DATE
        elif patient in cut:
            yield patient, f"a number whose digits after the first {KEPT_DIGITS} were replaced by zeros"
        elif what := _damaged(patient):
            yield patient, what


def is_date(text: str) -> bool:
    """Return whether the text is a date. In capitals, a month's name needs day and year (`MAR-01` may be a code)."""
    if not text.isupper() and (WITH_MONTH.fullmatch(text) or EASTERN.fullmatch(text)):
        return True
    return is_whole_date(text)


def is_whole_date(text: str) -> bool:
    """Return whether the text is a date with day, month and year."""
    return bool(WHOLE.fullmatch(text) or WHOLE_WITH_MONTH.fullmatch(text))


def _damaged(text: str) -> str:
    if ERROR.fullmatch(text):
        return "an error value of a spreadsheet"
    if SCIENTIFIC.fullmatch(text):
        return "a number without its last digits (spreadsheets shorten long numbers)"
    return "a time (spreadsheets turn 1:2 into one)" if TIME.fullmatch(text) else ""


def _shape(text: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", text))


def _cut(patients: Collection[str]) -> set[str]:
    """Return all long numbers if only zeros follow the first `KEPT_DIGITS` digits of each, else an empty set."""
    tails = {patient: patient[KEPT_DIGITS:] for patient in patients if LONG.fullmatch(patient)}
    zeros = "".join(tails.values())
    return set(tails) if len(zeros) >= FEWEST_ZEROS and not zeros.strip("0") else set()
