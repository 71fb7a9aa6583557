"""The one exception that a person is meant to read."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dcube.printable import printable_output


class DcubeError(Exception):
    """What is wrong, where, and how to mend it, in one line.

    Everything that a user can cause ends as one of these; commands print it and exit with code 2.
    """


ERROR = "error: "
BAD_INPUT = 2  # exit code of a command or a stage that found something for a person to mend


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a `DcubeError`, a full disk or a missing permission into one line and exit code 2.

    What is printed inside the block cannot steer the terminal.
    """
    with printable_output(), _one_line():
        yield


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except DcubeError as error:
        print(f"{ERROR}{' '.join(str(error).split(chr(10)))}", file=sys.stderr, flush=True)
        raise SystemExit(BAD_INPUT) from None
    except RuntimeError as error:
        if "home directory" not in str(error):  # Python's own, and libraries', of an account that is in no list
            raise
        print(
            f"{ERROR}this account has no home directory: set HOME to a folder of its own", file=sys.stderr, flush=True
        )
        raise SystemExit(BAD_INPUT) from None
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        print(f"{ERROR}{error.strerror}: {error.filename or 'while writing'}", file=sys.stderr, flush=True)
        raise SystemExit(BAD_INPUT) from None


def last_error(lines: Sequence[str]) -> str | None:
    """The last error among the lines that another process of ours has printed."""
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return errors[-1] if errors else None


def counted(counts: Mapping[str, int]) -> str:
    """Names with their numbers, for a message."""
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def abbreviated(names: Sequence[str], limit: int = 3) -> str:
    """The first few names for a message, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
