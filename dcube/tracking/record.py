"""Whether a result that DVC has recorded is of the parameters, code and data that stand in the working copy now."""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dcube.errors import DcubeError, abbreviated
from dcube.tracking.lineage import DATA, PARAMS, data_hash, locked_stages, overlaps, read_yaml, upstream_stages

RAW = DATA.stem


def refuse_stale_record(stage: str) -> None:
    """Raises: DcubeError: what `stage` reads was made of other parameters, code or data than stand here now."""
    if changed := sorted(set(_stale(stage))):
        raise DcubeError(
            f"{abbreviated(changed)} changed after the results were made of it: `dvc repro {stage}` makes them again"
        )


def _stale(stage: str) -> Iterator[str]:
    locked, params, hash_of = locked_stages(), read_yaml(PARAMS), cache(_hash)
    made = {out["path"]: out.get("md5") for entry in locked.values() for out in entry.get("outs", [])}
    for name in upstream_stages(stage):
        for key, value in locked[name].get("params", {}).get(str(PARAMS), {}).items():
            if value != value_at(params, key):
                yield f"{PARAMS}: {key}"
        for dependency in locked[name].get("deps", []):
            path = dependency["path"]
            if path not in made and any(overlaps(path, out) for out in made):
                continue  # part of an output, which is compared as a whole
            if dependency.get("md5") != (made[path] if path in made else hash_of(path)):
                yield path


def value_at(values: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _hash(path: str) -> str | None:
    """As DVC records it. Of the raw data, what their `.dvc` file says: nothing here writes to them."""
    if path == RAW:
        return data_hash()
    if Path(path).is_file():
        return _md5(Path(path).read_bytes())
    files = (file for file in Path(path).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    hashes = {file.relative_to(path).as_posix(): _md5(file.read_bytes()) for file in files}
    listing = [{"md5": hashes[name], "relpath": name} for name in sorted(hashes)]
    return f"{_md5(json.dumps(listing, sort_keys=True).encode())}.dir" if listing else None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
