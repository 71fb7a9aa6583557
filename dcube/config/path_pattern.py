"""Regular expressions for paths, safe for patterns from a web form: RE2 matches in linear time and bounded memory.

Python's own engine can take exponential time and blocks the interpreter. RE2 is part of Arrow.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

PATHS_AT_ONCE = 32
SECONDS = 10.0
MOST_PARENTHESES = 8


@dataclass(frozen=True)
class PathPattern:
    """One regular expression.

    Raises:
        ValueError: if Python or RE2 does not accept the expression. RE2 has no look-around and no back-references.
    """

    text: str

    def __post_init__(self) -> None:
        if self._parentheses > MOST_PARENTHESES:
            raise ValueError(f"at most {MOST_PARENTHESES} parentheses")
        self._found([""])

    @cached_property
    def _parentheses(self) -> int:
        try:
            return re.compile(self.text).groups
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from None

    def matches(self, paths: Sequence[str]) -> list[str]:
        """Return for each path the match, or only its parts in parentheses if there are any; empty without a match.

        Raises:
            TimeoutError: if matching takes longer than `SECONDS`.
        """
        deadline = time.monotonic() + SECONDS
        found: list[str] = []
        for start in range(0, len(paths), PATHS_AT_ONCE):
            if time.monotonic() > deadline:
                raise TimeoutError
            found += self._found(paths[start : start + PATHS_AT_ONCE])
        return found

    def _found(self, paths: Sequence[str]) -> list[str]:
        import pyarrow
        import pyarrow.compute

        texts = pyarrow.array(paths, pyarrow.string())
        wanted = "/".join(rf"\{number + 2}" for number in range(self._parentheses)) or r"\1"
        fits = pyarrow.compute.match_substring_regex(texts, self.text)
        parts = pyarrow.compute.replace_substring_regex(texts, pattern=f"^.*?({self.text}).*$", replacement=wanted)
        pairs = zip(fits.to_pylist(), parts.to_pylist(), strict=True)
        return [part.strip("/") if fit else "" for fit, part in pairs]
