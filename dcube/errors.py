"""`DcubeError`, the exception that is written for users, and helpers for its messages."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dcube.printable import printable_output


class DcubeError(Exception):
    """An error that a user can correct. Its one-line message says what is wrong, where, and how to correct it.

    Commands print the message and exit with code 2.
    """


ERROR = "error: "
SHARING = "use a clone of your own, or `umask 002` and `git config core.sharedRepository group` for both of you"
BAD_INPUT = 2  # exit code of a command or a stage when the user has to correct something


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a `DcubeError`, a full disk or a missing permission into one line and exit code 2.

    Inside the block, control characters are printed as escapes, so that they cannot affect the terminal.
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
        if "home directory" not in str(error):  # Python and libraries raise this if the account is in no user database
            raise
        print(
            f"{ERROR}this account has no home directory: set HOME to a folder of its own", file=sys.stderr, flush=True
        )
        raise SystemExit(BAD_INPUT) from None
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        print(f"{ERROR}{owner_problem(error) or described(error)}", file=sys.stderr, flush=True)
        raise SystemExit(BAD_INPUT) from None


def described(error: OSError) -> str:
    return f"{error.strerror}: {error.filename or 'while writing'}"


def owner_problem(error: OSError) -> str | None:
    """Return who owns the file or folder of this clone that the error is about, if it is another user's."""
    if not isinstance(error, PermissionError) or not isinstance(error.filename, str):
        return None
    path = Path(error.filename).absolute()
    nearest = next(it for it in (path, *path.parents) if os.path.lexists(it))
    return foreign(nearest) if nearest.is_relative_to(Path.cwd()) else None


def foreign(path: Path) -> str | None:
    """Return a message about an existing file or folder that belongs to another user and cannot be written."""
    uid = path.lstat().st_uid
    if uid == os.getuid() or os.access(path, os.W_OK):
        return None
    try:
        owner = path.owner()
    except KeyError:
        owner = f"user {uid}"
    return f"{path} belongs to {owner}: {SHARING}"


def last_error(lines: Sequence[str]) -> str | None:
    """Return the last error in the output lines of another D-Cube process; None if there is none."""
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return errors[-1] if errors else None


def counted(counts: Mapping[str, int]) -> str:
    """Format names with their counts for a message, e.g. `benign (3), normal (5)`."""
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def agreeing(count: int, one: str, many: str) -> str:
    """Format a number with words that agree with it, e.g. `1 image has`, `3 images have`."""
    return f"{count} {one if count == 1 else many}"


def abbreviated(names: Sequence[str], limit: int = 3) -> str:
    """Format the first `limit` names for a message, followed by the number of names left out."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
