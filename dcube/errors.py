"""The one exception that a person is meant to read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class DcubeError(Exception):
    """What is wrong, where, and how to mend it, in one line.

    Everything that a user can cause ends as one of these; commands print it and exit with code 2.
    """


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a `DcubeError`, a full disk or a missing permission into one line and exit code 2."""
    try:
        yield
    except DcubeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        print(f"error: {error.strerror}: {error.filename or 'while writing'}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
