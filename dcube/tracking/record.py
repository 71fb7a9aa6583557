"""Whether a result that DVC has recorded is of the parameters, code and data that stand in the working copy now."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from dcube.artifacts.checksums import dvc_hash
from dcube.artifacts.dvc_files import declared, declared_stages, overlaps, read_lock, read_params
from dcube.artifacts.layout import LOCK, PARAMS, RAW
from dcube.errors import DcubeError, abbreviated
from dcube.tracking.lineage import data_hash, upstream_stages

NOT_AS_RECORDED = f"not as {LOCK} records. `dvc checkout` restores that, `dvc repro` makes it again"


def refuse_stale_record(stage: str) -> None:
    """Raises: DcubeError: what `stage` reads is not as recorded, or not of what stands here now.

    Of an output of which it reads a part, only that may be here.
    """
    whole = [
        path for path in declared(stage).inputs if any(Path(out).is_relative_to(path) for out in _declared_outputs())
    ]
    refuse_replaced(*map(Path, whole))
    if changed := _changed(set(upstream_stages(stage))):
        raise DcubeError(
            f"{abbreviated(changed)} changed after the results were made of it: `dvc repro {stage}` makes them again"
        )


def refuse_replaced(*paths: Path) -> None:
    """Raises: DcubeError: outputs that stand in `paths` are of another revision than `dvc.lock`, or of none."""
    if replaced := [path for path in _replaced(*paths) if Path(path).exists()]:
        raise DcubeError(f"{abbreviated(replaced)}: {NOT_AS_RECORDED}")


def record_notice(results: Path) -> str | None:
    """How what stands in `results`, a folder of outputs, is not of this working copy; None where it is."""
    if replaced := _replaced(results):
        return f"{abbreviated(replaced)}: {NOT_AS_RECORDED}."
    stages = read_lock().stages
    makers = {name for name in stages if any(Path(out).is_relative_to(results) for out in stages[name].outputs)}
    if changed := _changed(makers.union(*map(upstream_stages, makers))):
        return f"{abbreviated(changed)} changed after these results were made. `dvc repro` makes them again."
    return None


def _declared_outputs() -> list[str]:
    return [out for stage in declared_stages().values() for out in stage.outputs]


def _replaced(*paths: Path) -> list[str]:
    """Outputs in or around `paths` that are not as `dvc.lock` records: a branch was switched, or a commit checked out,
    without `dvc checkout`.
    """

    def is_in_or_around(path: str) -> bool:
        return any(overlaps(path, str(it)) for it in paths)

    recorded = {path: digest for path, digest in read_lock().outputs.items() if is_in_or_around(path)}
    differing = {path for path, digest in recorded.items() if dvc_hash(Path(path)) != digest}
    standing = {str(file) for out in _declared_outputs() if is_in_or_around(out) for file in _files(Path(out))}
    return sorted(differing | {file for file in standing if not any(overlaps(file, out) for out in recorded)})


def _files(path: Path) -> Iterator[Path]:
    """Whole ones: what is being written is hidden."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not any(part.startswith(".") for part in file.parts):
            yield file


def _changed(stages: set[str]) -> list[str]:
    """Parameters and paths that are not as these stages, which are recorded, have read them."""
    lock = read_lock()
    parameters = {f"{PARAMS}: {key}" for _, key in lock.other_parameters(stages, read_params())}
    paths = {path for _, path in (*lock.other_outputs(stages), *lock.other_sources(stages, cache(_hash)))}
    return sorted(parameters | paths)


def _hash(path: str) -> str | None:
    """Of the raw data, what their `.dvc` file says: nothing here writes to them."""
    return data_hash() if path == str(RAW) else dvc_hash(Path(path))
