"""What is printed shows what it holds: text from file names, images and registries cannot steer a terminal."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

# Colours are kept, which this program writes itself; of the rest, what moves, hides, reorders or talks to the terminal.
STEERING = re.compile(r"(\x1b\[[0-9;]*m)|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Control characters as escapes, `\\x1b` for example."""
    return STEERING.sub(lambda found: found[1] or ascii(found[0])[1:-1], text)


class PrintableStream:
    """A text stream that writes what is printable.

    Attributes:
        unguarded: the stream itself, for a progress bar.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII alone, or bytes in a file name

    def write(self, text: str) -> int:
        return self.unguarded.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Inside the block, stdout and stderr write what is printable."""
    out, err = (cast(TextIO, PrintableStream(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


def unguarded(stream: TextIO) -> TextIO:
    """For what moves the cursor itself."""
    return stream.unguarded if isinstance(stream, PrintableStream) else stream
