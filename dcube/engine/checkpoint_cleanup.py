"""Removal of the checkpoints of trainings whose output DVC has recorded (3 GB for a model of 87 million weights).

A training ends before DVC has stored its output. If the process is killed in between, DVC runs the stage again, which
then needs the last checkpoint. Therefore the stage only notes its output in the working copy, and a later stage removes
the checkpoints once `dvc.lock` records this output. Times are not compared, because the clocks of machines differ.
"""

import shutil
from pathlib import Path

from dcube.artifacts.atomic import atomic_write
from dcube.artifacts.checksums import dvc_hash
from dcube.artifacts.dvc_files import read_lock
from dcube.artifacts.layout import FINISHED
from dcube.runtime.settings import read_settings


def note_finished(output: Path, *keys: str) -> None:
    """Note that the trainings with these keys have ended and produced the folder `output`."""
    FINISHED.mkdir(parents=True, exist_ok=True)
    for key in keys:
        atomic_write(FINISHED / key, f"{output} {dvc_hash(output)}".encode())


def remove_recorded() -> None:
    """Remove the checkpoints of trainings that have ended and whose output is recorded in `dvc.lock`."""
    notes = list(FINISHED.glob("*"))
    if read_settings().keep_checkpoints or not notes:
        return
    recorded = {f"{path} {digest}" for path, digest in read_lock().outputs.items()}
    for note in notes:
        if note.read_text() in recorded:
            shutil.rmtree(read_settings().checkpoints / note.name, ignore_errors=True)
            note.unlink(missing_ok=True)
