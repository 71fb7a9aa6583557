"""What a stage reads, when its process begins and when it ends.

DVC records parameters, code and data once a command has ended, whatever it began with: a file that is edited, or a
branch that is switched, while a stage runs would put the old result under the new values, in `dvc.lock` and in the run
cache. So the stage compares, and fails.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dcube.artifacts.dvc_files import declared, read_params, value_at
from dcube.artifacts.layout import PARAMS
from dcube.config.loading import flattened
from dcube.errors import DcubeError, abbreviated
from dcube.runtime.settings import read_settings


@cache
def inputs_at_start() -> dict[str, Any]:
    """As they were at the first call of this process, which comes before the code that the stage runs is imported."""
    return _inputs()


def refuse_changed_inputs() -> None:
    """Raises: DcubeError: what the running stage of DVC reads is not what its process began with."""
    before, now = inputs_at_start(), _inputs()
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        raise DcubeError(
            f"{read_settings().stage}: {abbreviated(changed)} changed while it ran, so its result is not recorded: "
            "`dvc repro` again, with the old state (a training then goes on where it was) or with the new one"
        )


def _inputs() -> dict[str, Any]:
    """Parameter or file → what tells whether it has changed; nothing outside a stage that DVC runs."""
    stage = read_settings().stage
    return dict(_read(stage)) if stage else {}


def _read(stage: str) -> Iterator[tuple[str, Any]]:
    reads, values = declared(stage), read_params()
    for name in reads.parameters:
        yield from flattened({f"{PARAMS}: {name}": value_at(values, name)}).items()
    for path in map(Path, reads.inputs):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file), _identity(file)


def _identity(file: Path) -> object:
    """Of code its content, which a branch that is switched and switched back leaves; of data, which may be terabytes,
    whether they were written to."""
    if file.suffix == ".py":
        return hashlib.sha256(file.read_bytes()).digest()
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
