"""Inputs of a stage, compared between the beginning and the end of its process.

DVC records parameters, code and data after a command has ended. If somebody edits a file or switches the branch while a
stage runs, `dvc.lock` and the run cache would assign the old result to the new values. The stage therefore compares its
inputs, and fails if they changed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dcube.artifacts.dvc_files import declared, value_at
from dcube.artifacts.layout import PARAMS
from dcube.config.loading import flattened
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError, abbreviated
from dcube.runtime.settings import read_settings


@dataclass(frozen=True)
class StageInputs:
    """Inputs of a stage that DVC runs; empty in other processes.

    Attributes:
        text: text of params.yaml; None if there is no such file.
        parameters: name → value.
        contents: file → hash of code, or size, time and inode of data; differs if the content differs.
        writes: file → size, time and inode; differs if the file was written to.
    """

    text: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, object] = field(default_factory=dict)
    writes: dict[str, object] = field(default_factory=dict)


@cache
def inputs_at_start() -> StageInputs:
    """Return the inputs at the first call in this process, which must come before the import of the stage's code."""
    return _inputs()


def refuse_inputs_changed_on_import() -> None:
    """Raise `DcubeError` if inputs changed during the imports, because the imported code may differ from the files.

    Every write to a file counts, even with the same content, because no work is lost at this point.
    """
    before, now = inputs_at_start(), _inputs(contents=False)
    _refuse(before.parameters | before.writes, now.parameters | now.writes)


def refuse_changed_inputs() -> None:
    """Raise `DcubeError` if the inputs of the running DVC stage have changed since its process began."""
    before, now = inputs_at_start(), _inputs()
    _refuse(before.parameters | before.contents, now.parameters | now.contents)


def _refuse(before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        raise DcubeError(
            f"{read_settings().stage}: {abbreviated(changed)} changed while it ran, so its result is not recorded: "
            "`dvc repro` again, with the old state (a training then continues) or with the new one"
        )


def _inputs(contents: bool = True) -> StageInputs:
    stage = read_settings().stage
    if not stage:
        return StageInputs()
    text = PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else None
    writes = {str(file): _write(file) for file in _files(stage)}
    return StageInputs(
        text,
        dict(_parameters(stage, text or "")),
        {file: _content(file) or write for file, write in writes.items()} if contents else {},
        writes,
    )


def _parameters(stage: str, text: str) -> Iterator[tuple[str, Any]]:
    values = parse_yaml(text, str(PARAMS))
    for name in declared(stage).parameters:
        yield from flattened({f"{PARAMS}: {name}": value_at(values, name)}).items()


def _files(stage: str) -> Iterator[Path]:
    for path in map(Path, declared(stage).inputs):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".partial":
                yield file


def _content(file: str) -> object:
    """Return a hash of code, which survives a switch of branches and back; None for data, which may be terabytes."""
    return hashlib.sha256(Path(file).read_bytes()).digest() if file.endswith(".py") else None


def _write(file: Path) -> object:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
