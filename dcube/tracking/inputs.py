"""What a stage reads, when its process begins and when it ends.

DVC records parameters, code and data once a command has ended, whatever it began with: a file that is edited, or a
branch that is switched, while a stage runs would put the old result under the new values, in `dvc.lock` and in the run
cache. So the stage compares, and fails.
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
    """What a stage reads; nothing outside a stage that DVC runs.

    Attributes:
        text: of params.yaml; None where there is no such file.
        parameters: name → value.
        contents: file → what tells whether it is another one.
        writes: file → what tells whether it was written to.
    """

    text: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, object] = field(default_factory=dict)
    writes: dict[str, object] = field(default_factory=dict)


@cache
def inputs_at_start() -> StageInputs:
    """As they were at the first call of this process, which comes before the code that the stage runs is imported."""
    return _inputs()


def refuse_inputs_changed_on_import() -> None:
    """Raises: DcubeError: the code that was imported meanwhile may be other code than stands here now.

    A file that was written to counts, whatever it holds: no work is lost yet.
    """
    before, now = inputs_at_start(), _inputs(contents=False)
    _refuse(before.parameters | before.writes, now.parameters | now.writes)


def refuse_changed_inputs() -> None:
    """Raises: DcubeError: what the running stage of DVC reads is not what its process began with."""
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
    """Of code, which a branch that is switched and switched back leaves; None of data, which may be terabytes."""
    return hashlib.sha256(Path(file).read_bytes()).digest() if file.endswith(".py") else None


def _write(file: Path) -> object:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
