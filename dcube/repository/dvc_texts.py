"""What DVC tells in words alone: the one module that reads its texts, which an upgrade of it can change.

Its exit code is the same for every failure, and `dvc.lock` does not say whether a stage ran.
"""

import re

ERROR = "ERROR: "
RUNNING = re.compile(r"Running stage '(.+)':")
EXITED = re.compile(r"exited with (-?\d+)$")


def started_stage(line: str) -> str | None:
    """The stage that begins with this line of `dvc repro`."""
    begins = RUNNING.fullmatch(line)
    return begins[1] if begins else None


def error_in(line: str) -> str | None:
    """The error that this line of any command tells."""
    return line.removeprefix(ERROR) if line.startswith(ERROR) else None


def exit_code_in(error: str) -> int | None:
    """The exit code of the stage's command that failed; None where no command did."""
    exited = EXITED.search(error)
    return int(exited[1]) if exited else None
