"""Names that file managers, browsers and people give to copies: `normal - Copy`, `normal (1)`, `normal_backup`."""

import re
from collections.abc import Iterator

SEPARATOR = r"[\s._~-]+"
# Endings from Windows, macOS, GNOME and KDE in several languages, and from people. `old` and a plain number are not
# among them: `fracture old` and `diabetes 2` are classes.
BEHIND = re.compile(
    rf"(?:\s*\(\d+\)|~|(?<=copy)\s\d+|{SEPARATOR}\(?(?:copy|copie|copia|cópia|kopie|kopia|kopi|副本|コピー|backup|bak|bkp"
    rf"|orig|tmp|temp)\)?)$",
    re.IGNORECASE,
)
BEFORE = re.compile(r"^(?:copy|copie|copia|cópia|kopie|kopia) (?:\(\d+\) )?(?:of|de|di|von|av|af)\s+", re.IGNORECASE)


def originals(name: str) -> Iterator[str]:
    """Yield the names that this name may be a copy of, the nearest first: for `a - Copy (2)`, `a - Copy` and `a`."""
    while True:
        shorter = BEHIND.sub("", name)
        shorter = BEFORE.sub("", name) if shorter == name else shorter
        if not shorter or shorter == name:
            return
        yield (name := shorter)
