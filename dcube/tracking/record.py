"""Whether a result that DVC has recorded is of the parameters, code and data that stand in the working copy now."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dcube.artifacts.checksums import dvc_hash
from dcube.errors import DcubeError, abbreviated
from dcube.tracking.lineage import (
    DATA,
    GRAPH,
    LOCK,
    PARAMS,
    data_hash,
    declared,
    locked_stages,
    overlaps,
    read_yaml,
    upstream_stages,
)

RAW = DATA.stem
NOT_AS_RECORDED = f"not as {LOCK} records. `dvc checkout` restores that, `dvc repro` makes it again"


def refuse_stale_record(stage: str) -> None:
    """Raises: DcubeError: what `stage` reads is not as recorded, or not of what stands here now.

    Of an output of which it reads a part, only that may be here.
    """
    whole = [path for path in declared(stage)["deps"] if any(Path(out).is_relative_to(path) for out in _declared())]
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
    makers = {name for name, out in _recorded() if Path(out["path"]).is_relative_to(results)}
    if changed := _changed(makers.union(*map(upstream_stages, makers))):
        return f"{abbreviated(changed)} changed after these results were made. `dvc repro` makes them again."
    return None


def _recorded() -> list[tuple[str, dict[str, Any]]]:
    """(stage, output) of all that `dvc.lock` records."""
    return [(name, out) for name, entry in locked_stages().items() for out in entry.get("outs", [])]


def _declared() -> list[str]:
    """Of all stages in dvc.yaml; of a matrix the folder that they stand in."""
    outs = [out for entry in read_yaml(GRAPH).get("stages", {}).values() for out in entry.get("outs", [])]
    return [(out if isinstance(out, str) else next(iter(out))).partition("/${")[0] for out in outs]


def _replaced(*paths: Path) -> list[str]:
    """Outputs in or around `paths` that are not as `dvc.lock` records: a branch was switched, or a commit checked out,
    without `dvc checkout`.
    """

    def asked(path: str) -> bool:
        return any(overlaps(path, str(it)) for it in paths)

    recorded = {out["path"]: out.get("md5") for _, out in _recorded() if asked(out["path"])}
    differing = {path for path, digest in recorded.items() if dvc_hash(Path(path)) != digest}
    standing = {str(file) for out in _declared() if asked(out) for file in _files(Path(out))}
    return sorted(differing | {file for file in standing if not any(overlaps(file, out) for out in recorded)})


def _files(path: Path) -> Iterator[Path]:
    """Whole ones: what is being written is hidden."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not any(part.startswith(".") for part in file.parts):
            yield file


def _changed(stages: set[str]) -> list[str]:
    """Parameters and paths that are not as these stages, which are recorded, have read them."""
    locked, params, hash_of = locked_stages(), read_yaml(PARAMS), cache(_hash)
    made = {out["path"]: out.get("md5") for entry in locked.values() for out in entry.get("outs", [])}

    def of(entry: dict[str, Any]) -> Iterator[str]:
        for key, value in entry.get("params", {}).get(str(PARAMS), {}).items():
            if value != value_at(params, key):
                yield f"{PARAMS}: {key}"
        for dependency in entry.get("deps", []):
            path = dependency["path"]
            if path not in made and any(overlaps(path, out) for out in made):
                continue  # part of an output, which is compared as a whole
            if dependency.get("md5") != (made[path] if path in made else hash_of(path)):
                yield path

    return sorted({one for name in stages for one in of(locked[name])})


def value_at(values: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _hash(path: str) -> str | None:
    """Of the raw data, what their `.dvc` file says: nothing here writes to them."""
    return data_hash() if path == RAW else dvc_hash(Path(path))
