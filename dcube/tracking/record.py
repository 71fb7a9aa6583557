"""Whether a result that DVC has recorded is of the parameters, code and data that stand in the working copy now."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dcube.artifacts.checksums import dvc_hash
from dcube.errors import DcubeError, abbreviated
from dcube.tracking.lineage import DATA, LOCK, PARAMS, data_hash, locked_stages, overlaps, read_yaml, upstream_stages

RAW = DATA.stem


def refuse_stale_record(stage: str) -> None:
    """Raises: DcubeError: what `stage` reads was made of other parameters, code or data than stand here now."""
    if changed := _changed(set(upstream_stages(stage))):
        raise DcubeError(
            f"{abbreviated(changed)} changed after the results were made of it: `dvc repro {stage}` makes them again"
        )


def record_notice(results: Path) -> str | None:
    """How what stands in `results`, a folder of outputs, is not of this working copy; None where it is."""
    outs = {
        out["path"]: (name, out.get("md5"))
        for name, entry in locked_stages().items()
        for out in entry.get("outs", [])
        if Path(out["path"]).is_relative_to(results)
    }
    if replaced := sorted(path for path, (_, digest) in outs.items() if dvc_hash(Path(path)) != digest):
        return (
            f"{abbreviated(replaced)}: not as {LOCK} records. `dvc checkout` restores that, `dvc repro` makes it again."
        )
    makers = {name for name, _ in outs.values()}
    if changed := _changed(makers.union(*map(upstream_stages, makers))):
        return f"{abbreviated(changed)} changed after these results were made. `dvc repro` makes them again."
    return None


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
