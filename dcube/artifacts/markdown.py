"""Tables in Markdown: model cards, artifacts in Prefect, studies."""

import re
from collections.abc import Iterable, Sequence

# A cell may hold the name of a folder, and no cell of this program a link: no text becomes a link, a picture or HTML.
ACTIVE = re.compile(r"\||\](?=\()|<(?=[A-Za-z/!?])")


def markdown_table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(ACTIVE.sub(r"\\\g<0>", str(cell)) for cell in line) + " |" for line in lines)
