"""Takes away the checkpoints of trainings that DVC has recorded: with one of 87 million weights go three gigabytes.

A training ends before DVC has stored what it wrote. A kill between the two makes DVC run the stage again, which then
needs the last checkpoint. So the stage only notes that it has ended, in the working copy's own folder, and a later one
takes the checkpoints away once `dvc.lock` is younger than the note.
"""

import shutil

from dcube.artifacts.layout import FINISHED, LOCK
from dcube.runtime.settings import read_settings


def note_finished(key: str) -> None:
    """The training of that key has ended and its outputs stand."""
    FINISHED.mkdir(parents=True, exist_ok=True)
    (FINISHED / key).touch()


def remove_recorded() -> None:
    """Remove the checkpoints of what has ended and is recorded."""
    if read_settings().keep_checkpoints:
        return
    recorded = LOCK.stat().st_mtime_ns if LOCK.exists() else 0
    for note in FINISHED.glob("*"):
        if note.stat().st_mtime_ns < recorded:
            shutil.rmtree(read_settings().checkpoints / note.name, ignore_errors=True)
            note.unlink(missing_ok=True)
