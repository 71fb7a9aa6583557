"""Values of table cells and header fields that mean "unknown"."""

SAYING_NOTHING = frozenset(
    {
        "nan", "na", "n/a", "n.a.", "#n/a", "<na>", "nat", "null", "nil", "-nan", "#value!", "?", "none",
        "unknown", "-", "--",
        "unbekannt", "inconnu", "inconnue", "desconocido", "sconosciuto", "k.a.", "keine angabe", "not available",
        "unlabelled", "unlabeled", "anon", "anonymous", "anonymized", "anonymised", "deidentified", "de-identified",
        "anonymisiert", "anonyme",
    }
)  # fmt: skip


def says_nothing(value: str) -> bool:
    return value.casefold() in SAYING_NOTHING
