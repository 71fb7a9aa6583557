"""Cells and header fields that say that nothing is known."""

UNKNOWN_VALUES = frozenset(
    {"nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "nil", "-nan", "#value!", "?", "none", "unknown", "-", "--"}
)


def says_nothing(value: str) -> bool:
    return value.casefold() in UNKNOWN_VALUES
