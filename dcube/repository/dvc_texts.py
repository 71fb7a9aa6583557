"""Parsing of DVC's messages: the only module that depends on their texts, which an upgrade of DVC can change.

The messages are needed, because DVC's exit code is the same for every failure, and `dvc.lock` does not record whether
a stage ran.
"""

import re

ERROR = "ERROR: "
RUNNING = re.compile(r"Running stage '(.+)':")
EXITED = re.compile(r"exited with (-?\d+)$")


def started_stage(line: str) -> str | None:
    """Return the stage that starts with this line of `dvc repro`, or None."""
    begins = RUNNING.fullmatch(line)
    return begins[1] if begins else None


def error_in(line: str) -> str | None:
    """Return the error message in this line of any DVC command, or None."""
    return line.removeprefix(ERROR) if line.startswith(ERROR) else None


def exit_code_in(error: str) -> int | None:
    """Return the exit code of the stage's command from DVC's error message; None if no command failed."""
    exited = EXITED.search(error)
    return int(exited[1]) if exited else None
