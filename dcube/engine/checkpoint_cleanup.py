"""Takes away the checkpoints of trainings that DVC has recorded: with one of 87 million weights go three gigabytes.

A training ends before DVC has stored what it wrote. A kill between the two makes DVC run the stage again, which then
needs the last checkpoint. So the stage only notes what it has written, in the working copy's own folder, and a later
one takes the checkpoints away once `dvc.lock` records that very output. No clock is asked: clocks differ.
"""

import shutil
from pathlib import Path

from dcube.artifacts.atomic import atomic_write
from dcube.artifacts.checksums import dvc_hash
from dcube.artifacts.dvc_files import read_lock
from dcube.artifacts.layout import FINISHED
from dcube.runtime.settings import read_settings


def note_finished(output: Path, *keys: str) -> None:
    """The trainings of these keys have ended, and the folder `output` is what they made."""
    FINISHED.mkdir(parents=True, exist_ok=True)
    for key in keys:
        atomic_write(FINISHED / key, f"{output} {dvc_hash(output)}".encode())


def remove_recorded() -> None:
    """Remove the checkpoints of what has ended and is recorded."""
    notes = list(FINISHED.glob("*"))
    if read_settings().keep_checkpoints or not notes:
        return
    recorded = {f"{path} {digest}" for path, digest in read_lock().outputs.items()}
    for note in notes:
        if note.read_text() in recorded:
            shutil.rmtree(read_settings().checkpoints / note.name, ignore_errors=True)
            note.unlink(missing_ok=True)
