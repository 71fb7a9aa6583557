"""Cells and header fields that say that nothing is known."""

UNKNOWN = {
    "nan",
    "na",
    "n/a",
    "#n/a",
    "<na>",
    "nat",
    "null",
    "nil",
    "-nan",
    "#value!",
    "?",
    "none",
    "unknown",
    "-",
    "--",
}
NAMELESS = {"anon", "anonymous", "anonymized", "anonymised", "deidentified", "de-identified"}


def says_nothing(value: str) -> bool:
    return value.casefold() in UNKNOWN | NAMELESS
