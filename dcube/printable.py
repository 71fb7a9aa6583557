"""Safe printing: control characters in text from file names, images and registries cannot affect the terminal."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

# Colour codes are kept, because this program writes them. All other characters that move the cursor, hide or reorder
# text, or send commands to the terminal are escaped.
STEERING = re.compile(r"(\x1b\[[0-9;]*m)|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Replace control characters by escapes, for example `\\x1b`."""
    return STEERING.sub(lambda found: found[1] or ascii(found[0])[1:-1], text)


class PrintableStream:
    """A text stream that escapes control characters.

    Attributes:
        unguarded: the wrapped stream, which a progress bar needs to move the cursor.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for an ASCII terminal, or undecodable file names

    def write(self, text: str) -> int:
        return self.unguarded.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Inside the block, stdout and stderr escape control characters."""
    out, err = (cast(TextIO, PrintableStream(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


def unguarded(stream: TextIO) -> TextIO:
    """Return the wrapped stream, for output that moves the cursor."""
    return stream.unguarded if isinstance(stream, PrintableStream) else stream
