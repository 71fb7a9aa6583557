"""Where a result comes from: code, data, parameters, machine. Read from files; imports neither DVC nor MLflow."""

import getpass
import hashlib
import os
import platform
import re
from importlib.metadata import distributions, version
from pathlib import Path

from dcube.artifacts.dvc_files import declared, read_data_hash, read_lock
from dcube.artifacts.layout import DATA_RECORD, GRAPH, LOCK, PARAMS
from dcube.errors import DcubeError
from dcube.repository.commands import UntrustedRepositoryError, git
from dcube.runtime.settings import read_settings
from dcube.tracking import tags

PACKAGE = Path(__file__).parents[1]
PACKAGES = ("dcube", "diffusers", "mlflow", "numpy", "timm", "torch", "torchvision")  # that numbers may depend on
ORIGIN = "origin"  # artifact folder of a registering run
MANY = 50


def pipeline_id() -> str:
    """Name that all stages of one pipeline share.

    Given by an orchestrator (`DCUBE_PIPELINE`) or a DVC experiment (`DVC_EXP_NAME`), else a hash of
    parameters, data version and git commit.
    """
    origin = f"{params_hash()} {data_hash()} {git_commit()}"
    return read_settings().pipeline or hashlib.sha256(origin.encode()).hexdigest()[:12]


def person() -> str:
    """Who sits at this terminal: git's name of them, else the account's."""
    return _git("config", "user.name") or getpass.getuser()


def params_hash() -> str:
    return hashlib.sha256(PARAMS.read_bytes()).hexdigest() if PARAMS.exists() else "none"


def data_hash() -> str:
    """DVC's hash of the raw data, or "none" where they are not tracked."""
    return read_data_hash() or "none"


def git_commit() -> str:
    return _git("rev-parse", "HEAD") or "none"


def uncommitted() -> list[str]:
    """Files with uncommitted changes, except parameters and DVC's results, which are kept elsewhere.

    First those that a result depends on: a tag names not all of many.

    A file that git does not know may be called after a patient: outside the package such files are only counted.
    """
    changed = _git("diff", "--name-only", "HEAD").splitlines()
    added = _git("ls-files", "--others", "--exclude-standard").splitlines()
    recorded = {str(PARAMS), str(LOCK)}
    named = {name for name in added if _counts(name)}
    others = len({*added} - named - recorded)
    files = sorted({*changed, *named} - recorded, key=lambda name: (name != str(GRAPH), not _counts(name), name))
    return files + ([f"untracked files: {others}"] if others else [])


def _counts(name: str) -> bool:
    return name == str(GRAPH) or (name.startswith(f"{PACKAGE.name}/") and is_code(name))


def code_fingerprint(package: Path) -> str:
    """Hash of a copy of this package, from its files' contents alone."""
    files = (file for file in package.rglob("*") if is_code(file.name))
    return fingerprint_of({file.relative_to(package).as_posix(): _blob(file.read_bytes()) for file in files})


def is_code(name: str) -> bool:
    return name.endswith((".py", ".yaml"))


def fingerprint_of(blobs: dict[str, str]) -> str:
    """Hash of path → git's name for the content, so that a commit can be hashed without checking it out."""
    return hashlib.sha256(repr(sorted(blobs.items())).encode()).hexdigest()


def origin_files() -> dict[str, str]:
    """Name → text of what making a model again needs beside code and data: the values, not only their hashes."""
    packages = sorted({f"{found.name}=={found.version}" for found in distributions()}, key=str.lower)
    files = {str(path): _text(path) for path in (PARAMS, LOCK, DATA_RECORD) if path.exists()}
    return files | {"packages.txt": "\n".join(packages) + "\n"}


def upstream_stages(stage: str) -> list[str]:
    """Every recorded stage whose output `stage` (or `stage@item`) directly or indirectly reads."""
    return read_lock().upstream(declared(stage).inputs)


def upstream_hashes(stage: str) -> dict[str, str]:
    """Path → DVC hash of every output that `stage` (or `stage@item`) directly or indirectly reads."""
    stages = read_lock().stages
    outputs = {path: it or "" for name in upstream_stages(stage) for path, it in stages[name].outputs.items()}
    return dict(sorted(outputs.items()))


def origin_tags(stage: str) -> dict[str, str]:
    """Code, data and parameters that a result of `stage` comes from, as MLflow tags."""
    return {
        tags.PIPELINE: pipeline_id(),
        tags.PARAMS_SHA256: params_hash(),
        tags.COMMIT: git_commit(),
        tags.UNCOMMITTED: ", ".join(uncommitted()[:MANY]) or "none",
        tags.DATA: data_hash(),
        **{f"{tags.DVC}{path}": digest for path, digest in upstream_hashes(stage).items()},
    }


def lineage_tags(stage: str) -> dict[str, str]:
    """Everything that identifies a run's origin: `origin_tags`, and what it ran on."""
    machine = {
        tags.MACHINE: _machine(),
        tags.PYTHON: platform.python_version(),
        **{f"{tags.VERSION}{package}": version(package) for package in PACKAGES},
    }
    return origin_tags(stage) | source_tags(stage) | machine


def source_tags(stage: str) -> dict[str, str]:
    """The stage (or `stage@item`) that makes a run, and what MLflow shows as its source."""
    return {
        tags.STAGE: stage,
        tags.SOURCE_NAME: f"dcube.stages.{stage.partition('@')[0]}",
        tags.SOURCE_TYPE: "LOCAL",
    }


def _machine() -> str:
    """Hardware, not a host's name: results depend on the one and not on the other."""
    import torch

    cpu = re.search(r"^model name\s*: (.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    parts = [cpu[1] if cpu else platform.machine(), f"{os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}")
    return ", ".join(parts)


def _blob(content: bytes) -> str:
    """Git's name for a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _git(*words: str) -> str:
    """What git prints, empty where it knows nothing.

    Raises:
        DcubeError: it refuses to look into another user's repository, and would do so in silence.
    """
    try:
        return git(Path.cwd(), *words).strip()
    except UntrustedRepositoryError:
        raise
    except DcubeError:
        return ""


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
