"""Tables in Markdown: model cards, artifacts in Prefect, studies."""

import re
from collections.abc import Iterable, Sequence

# A cell may contain text from outside, such as a folder name. Escaping this keeps it from becoming a link, an image or
# HTML; no cell of this program needs one.
ACTIVE = re.compile(r"\||\](?=\()|<(?=[A-Za-z/!?])")


def markdown_table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(ACTIVE.sub(r"\\\g<0>", str(cell)) for cell in line) + " |" for line in lines)
