"""Comparison of DVC's record of results with the present files of the working copy.

`dcube.registry.staleness` draws the conclusions.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from dcube.artifacts.checksums import dvc_hash
from dcube.artifacts.dvc_files import declared, declared_stages, overlaps, read_lock, read_params
from dcube.artifacts.layout import PARAMS, RAW
from dcube.tracking.lineage import data_hash, upstream_stages


def complete_inputs(stage: str) -> list[Path]:
    """Return the inputs of a stage that contain complete outputs of other stages.

    Inputs that are only a part of an output are left out, because the rest of the output may be missing here.
    """
    outputs = _declared_outputs()
    return [Path(path) for path in declared(stage).inputs if any(Path(out).is_relative_to(path) for out in outputs)]


def recorded_stages_of(results: Path) -> set[str]:
    """Return the recorded stages that made the outputs in the folder `results`, with all stages before them."""
    stages = read_lock().stages
    makers = {name for name in stages if any(Path(out).is_relative_to(results) for out in stages[name].outputs)}
    return makers.union(*map(upstream_stages, makers))


def _declared_outputs() -> list[str]:
    return [out for stage in declared_stages().values() for out in stage.outputs]


def replaced_outputs(*paths: Path) -> list[str]:
    """Return outputs in or around `paths` that differ from `dvc.lock`, for example after a git checkout.

    They include files that `dvc.lock` does not know.
    """

    def is_in_or_around(path: str) -> bool:
        return any(overlaps(path, str(it)) for it in paths)

    recorded = {path: digest for path, digest in read_lock().outputs.items() if is_in_or_around(path)}
    differing = {path for path, digest in recorded.items() if dvc_hash(Path(path)) != digest}
    standing = {str(file) for out in _declared_outputs() if is_in_or_around(out) for file in _files(Path(out))}
    return sorted(differing | {file for file in standing if not any(overlaps(file, out) for out in recorded)})


def _files(path: Path) -> Iterator[Path]:
    """Yield complete files; files that are being written have hidden names."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not any(part.startswith(".") for part in file.parts):
            yield file


def changed_inputs(stages: Iterable[str], sources: bool = True) -> list[str]:
    """Return the parameters and paths that differ from what these recorded stages have read.

    Args:
        sources: whether to compare code and raw data too, besides parameters and outputs of other stages.
    """
    lock, names = read_lock(), set(stages)
    parameters = {f"{PARAMS}: {key}" for _, key in lock.other_parameters(names, read_params())}
    other = lock.other_sources(names, cache(_hash)) if sources else ()
    return sorted(parameters | {path for _, path in (*lock.other_outputs(names), *other)})


def _hash(path: str) -> str | None:
    """Return DVC's hash of a path; for the raw data that of the `.dvc` file, because no stage writes to them."""
    return data_hash() if path == str(RAW) else dvc_hash(Path(path))
