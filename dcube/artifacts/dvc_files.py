"""Reading `dvc.yaml`, `dvc.lock`, `data.dvc` and `params.yaml`. Only this module knows their structure.

It reads them without DVC, which takes seconds to import.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from dcube.artifacts.layout import DATA_RECORD, GRAPH, LOCK, PARAMS, RAW
from dcube.config.loading import flattened
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError

Hashes = dict[str, str | None]  # path → DVC's hash


@dataclass(frozen=True)
class DeclaredStage:
    """A stage of `dvc.yaml`.

    Attributes:
        inputs: paths.
        parameters: dotted keys of `params.yaml`.
        outputs: paths. For a matrix stage, the folder that contains the outputs of all its items.
    """

    inputs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class LockedStage:
    """The entry of a stage in `dvc.lock`: the hashes of its inputs and outputs, and its parameters."""

    inputs: Hashes
    outputs: Hashes
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Lock:
    """Contents of `dvc.lock`. It has no stages if none has run yet."""

    stages: dict[str, LockedStage]

    @cached_property
    def outputs(self) -> Hashes:
        return {path: digest for stage in self.stages.values() for path, digest in stage.outputs.items()}

    def upstream(self, paths: Iterable[str]) -> list[str]:
        """Return the stages that directly or indirectly produce one of `paths`, in alphabetical order."""
        found: set[str] = set()
        waiting = list(paths)
        while waiting:
            path = waiting.pop()
            for name in self.stages.keys() - found:
                if any(overlaps(out, path) for out in self.stages[name].outputs):
                    found.add(name)
                    waiting += self.stages[name].inputs
        return sorted(found)

    def other_outputs(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield (stage, path) for each input that is an output of another stage and has another hash there."""
        for name in names:
            for path, digest in self.stages[name].inputs.items():
                if path in self.outputs and digest != self.outputs[path]:
                    yield name, path

    def other_sources(self, names: Iterable[str], hash_of: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
        """Yield (stage, path) for each input that no stage produces and whose hash has changed since the stage ran."""
        for name in names:
            for path, digest in self.stages[name].inputs.items():
                # A path that overlaps an output is not a source file: a stage produces it.
                if not any(overlaps(path, out) for out in self.outputs) and digest != hash_of(path):
                    yield name, path

    def other_parameters(self, names: Iterable[str], params: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield (stage, dotted key) for each parameter that had another value when the stage ran than in `params`."""
        for name in names:
            for key, value in self.stages[name].parameters.items():
                ran_with, has = flattened({key: value}), flattened({key: value_at(params, key)})
                for parameter in sorted(ran_with.keys() | has.keys()):
                    if ran_with.get(parameter) != has.get(parameter):
                        yield name, parameter


def read_lock(folder: Path = Path()) -> Lock:
    """Read `dvc.lock`. Raises `DcubeError` if it is damaged."""
    return parse_lock(_content(folder / LOCK), str(folder / LOCK))


def read_params(folder: Path = Path()) -> dict[str, Any]:
    """Read `params.yaml` without validation. The result is cached and shared: do not change it."""
    return _parsed(_content(folder / PARAMS), str(folder / PARAMS))


def declared_stages() -> dict[str, DeclaredStage]:
    """Return all stages of `dvc.yaml` by name. A matrix is one stage."""
    return {name: _declared(entry) for name, entry in _stages(_content(GRAPH), str(GRAPH)).items()}


def declared(stage: str) -> DeclaredStage:
    """Return the stage (or `stage@item`) of `dvc.yaml`; an empty `DeclaredStage` if there is none."""
    name, _, item = stage.partition("@")
    return _declared(_stages(_content(GRAPH), str(GRAPH)).get(name, {}), item)


def stages_in_order() -> dict[str, str]:
    """Return stage (or `stage@item`) → its `desc`, in DVC's order: that of `dvc.yaml`, and what a stage reads first."""
    entries = _stages(_content(GRAPH), str(GRAPH))
    names = {
        f"{name}@{item}" if item else name: name
        for name, entry in entries.items()
        for item in [item for items in entry.get("matrix", {}).values() for item in items] or [""]
    }
    stages = {name: declared(name) for name in names}
    ordered: dict[str, str] = {}

    def add(name: str) -> None:
        for other, stage in stages.items():
            read = any(overlaps(out, path) for out in stage.outputs for path in stages[name].inputs)
            if read and other not in (name, *ordered):
                add(other)
        ordered.setdefault(name, entries[names[name]].get("desc", ""))

    for name in stages:
        add(name)
    return ordered


def read_data_hash() -> str | None:
    """Return DVC's hash of the raw data; None if they are not tracked."""
    return parse_data_hash(_content(DATA_RECORD), str(DATA_RECORD)) if DATA_RECORD.exists() else None


@lru_cache(maxsize=2)
def parse_lock(content: str | bytes, where: str) -> Lock:
    """Parse the content of a `dvc.lock`. `where` names its source in error messages."""
    try:
        return Lock({name: _locked(entry) for name, entry in _stages(content, where).items()})
    except (AttributeError, KeyError, TypeError):
        raise DcubeError(f"{where} is not as DVC writes it: remove it, and `dvc repro` writes it anew") from None


def parse_data_hash(content: str | bytes, where: str) -> str:
    """Return the hash in the content of a `data.dvc`. `where` names its source in error messages."""
    try:
        return str(_parsed(content, where)["outs"][0]["md5"])
    except (LookupError, TypeError):
        raise DcubeError(f"{where} records no data: `dcube data add` them") from None


def is_data_record(content: bytes) -> bool:
    """Return whether the content is a complete `data.dvc`; the path of the data is last in it."""
    try:
        record = _parsed(content, str(DATA_RECORD))["outs"][0]
        return bool(record["md5"]) and record["path"] == str(RAW)
    except (DcubeError, LookupError, TypeError):
        return False


def value_at(values: Any, key: str) -> Any:
    """Return the value at a dotted key; None if there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def overlaps(first: str, second: str) -> bool:
    """Return whether the paths are equal or one contains the other."""
    return Path(first).is_relative_to(second) or Path(second).is_relative_to(first)


def _declared(entry: dict[str, Any], item: str = "") -> DeclaredStage:
    """Parse one stage entry, with `item` in place of the matrix variable."""
    outputs = (out if isinstance(out, str) else next(iter(out)) for out in entry.get("outs", []))
    return DeclaredStage(
        inputs=tuple(re.sub(r"\$\{item\.\w+\}", item, path) for path in entry.get("deps", [])),
        parameters=tuple(entry.get("params", [])),
        outputs=tuple(out.partition("/${")[0] for out in outputs),
    )


def _locked(entry: dict[str, Any]) -> LockedStage:
    return LockedStage(
        inputs=_hashes(entry.get("deps", ())),
        outputs=_hashes(entry.get("outs", ())),
        parameters=entry.get("params", {}).get(str(PARAMS), {}),
    )


def _hashes(entries: Sequence[dict[str, Any]]) -> Hashes:
    return {entry["path"]: entry.get("md5") for entry in entries}


def _stages(content: str | bytes, where: str) -> dict[str, Any]:
    return _parsed(content, where).get("stages") or {}


@lru_cache(maxsize=4)  # a stage calls this a dozen times, and parsing `dvc.lock` takes 0.15 s
def _parsed(content: str | bytes, where: str) -> dict[str, Any]:
    return parse_yaml(content, where) or {}


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
