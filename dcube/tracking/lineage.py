"""Origin of a result: code, data, parameters and machine, read from files. Must import neither DVC nor MLflow."""

import getpass
import hashlib
import os
import platform
import re
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path

from dcube.artifacts.dvc_files import declared, read_data_hash, read_lock
from dcube.artifacts.layout import DATA_RECORD, LOCK, PARAMS
from dcube.runtime.settings import read_settings
from dcube.tracking import tags
from dcube.tracking.code_revision import git_output, is_code, uncommitted

PACKAGE = Path(__file__).parents[1]
PACKAGES = ("dcube", "diffusers", "mlflow", "numpy", "timm", "torch", "torchvision")  # they may affect results
ORIGIN = "origin"  # artifact folder of a registering run
MANY = 50


def pipeline_id() -> str:
    """Return the name that all stages of one pipeline share.

    It is given by an orchestrator (`DCUBE_PIPELINE`) or a DVC experiment (`DVC_EXP_NAME`), and is otherwise a hash of
    parameters, data version and git commit.
    """
    origin = f"{params_hash()} {data_hash()} {git_commit()}"
    return read_settings().pipeline or hashlib.sha256(origin.encode()).hexdigest()[:12]


def person() -> str:
    """Return the user's name from git's configuration, or else the name of the account."""
    return git_output("config", "user.name") or getpass.getuser()


def params_hash() -> str:
    return hashlib.sha256(PARAMS.read_bytes()).hexdigest() if PARAMS.exists() else "none"


def data_hash() -> str:
    """Return DVC's hash of the raw data, or "none" if they are not tracked."""
    return read_data_hash() or "none"


def git_commit() -> str:
    return git_output("rev-parse", "HEAD") or "none"


def code_fingerprint(package: Path) -> str:
    """Return a hash of a copy of this package, from the paths and contents of its code files alone."""
    blobs = {file.relative_to(package).as_posix(): _blob(file.read_bytes()) for file in code_files(package)}
    return fingerprint_of(blobs)


def code_files(package: Path) -> list[Path]:
    return sorted(file for file in package.rglob("*") if is_code(file.name))


def fingerprint_of(blobs: dict[str, str]) -> str:
    """Return a hash of path → git's blob hash, so that a commit can be hashed without a checkout."""
    return hashlib.sha256(repr(sorted(blobs.items())).encode()).hexdigest()


@cache
def installed_packages() -> dict[str, str]:
    """Return name → version of all packages in this environment. Their metadata take half a second to parse."""
    return {metadata["Name"]: metadata["Version"] for metadata in (found.metadata for found in distributions())}


def origin_files() -> dict[str, str]:
    """Return name → text of files that a rebuild needs: `params.yaml`, `dvc.lock`, `data.dvc` and `packages.txt`."""
    packages = sorted((f"{name}=={number}" for name, number in installed_packages().items()), key=str.lower)
    files = {str(path): _text(path) for path in (PARAMS, LOCK, DATA_RECORD) if path.exists()}
    return files | {"packages.txt": "\n".join(packages) + "\n"}


def upstream_stages(stage: str) -> list[str]:
    """Return all recorded stages whose outputs `stage` (or `stage@item`) reads directly or indirectly."""
    return read_lock().upstream(declared(stage).inputs)


def upstream_hashes(stage: str) -> dict[str, str]:
    """Return path → DVC hash of all outputs that `stage` (or `stage@item`) reads directly or indirectly."""
    stages = read_lock().stages
    outputs = {path: it or "" for name in upstream_stages(stage) for path, it in stages[name].outputs.items()}
    return dict(sorted(outputs.items()))


def origin_tags(stage: str) -> dict[str, str]:
    """Return MLflow tags for the code, data and parameters that a result of `stage` comes from."""
    return checkout_tags() | {f"{tags.DVC}{path}": digest for path, digest in upstream_hashes(stage).items()}


def checkout_tags() -> dict[str, str]:
    """Return MLflow tags for the code, data and parameters of this working copy."""
    return {
        tags.PIPELINE: pipeline_id(),
        tags.PARAMS_SHA256: params_hash(),
        tags.COMMIT: git_commit(),
        tags.UNCOMMITTED: ", ".join(uncommitted()[:MANY]) or "none",
        tags.DATA: data_hash(),
    }


def lineage_tags(stage: str) -> dict[str, str]:
    """Return all tags for a run's origin: `origin_tags`, the stage, hardware and package versions."""
    return origin_tags(stage) | source_tags(stage) | machine_tags()


def machine_tags() -> dict[str, str]:
    """Return MLflow tags for the hardware and package versions."""
    return {
        tags.MACHINE: _machine(),
        tags.PYTHON: platform.python_version(),
        **{f"{tags.VERSION}{package}": version(package) for package in PACKAGES},
    }


def source_tags(stage: str) -> dict[str, str]:
    """Return tags for the stage (or `stage@item`) of a run, and for the source that MLflow shows."""
    return {
        tags.STAGE: stage,
        tags.SOURCE_NAME: f"dcube.stages.{stage.partition('@')[0]}",
        tags.SOURCE_TYPE: "LOCAL",
    }


def _machine() -> str:
    """Describe the hardware, without the host's name, on which results do not depend."""
    import torch

    cpu = re.search(r"^model name\s*: (.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    parts = [cpu[1] if cpu else platform.machine(), f"{os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}")
    return ", ".join(parts)


def _blob(content: bytes) -> str:
    """Return git's blob hash of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
