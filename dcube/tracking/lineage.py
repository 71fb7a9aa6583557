"""Where a result comes from: code, data, parameters, machine. Read from files; imports neither DVC nor MLflow."""

import getpass
import hashlib
import os
import platform
import re
import subprocess
from functools import lru_cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError
from dcube.runtime.processes import child_environment
from dcube.runtime.settings import read_settings
from dcube.tracking import tags

PARAMS, DATA, GRAPH, LOCK = Path("params.yaml"), Path("data.dvc"), Path("dvc.yaml"), Path("dvc.lock")
PACKAGE = Path(__file__).parents[1]
PACKAGES = ("dcube", "diffusers", "mlflow", "numpy", "timm", "torch", "torchvision")  # that numbers may depend on
ORIGIN = "origin"  # artifact folder of a registering run
MANY = 50
ENGLISH = {"LC_ALL": "C"}


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
    outs = read_yaml(DATA).get("outs") or [{}]
    return outs[0].get("md5", "none")


def git_commit() -> str:
    return _git("rev-parse", "HEAD") or "none"


def uncommitted() -> list[str]:
    """Files that no commit has as they are here, but for what is kept by other means: parameters and DVC's results.

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
    files = {str(path): _text(path) for path in (PARAMS, LOCK, DATA) if path.exists()}
    return files | {"packages.txt": "\n".join(packages) + "\n"}


def upstream_stages(stage: str) -> list[str]:
    """Every recorded stage whose output `stage` (or `stage@item`) directly or indirectly reads."""
    locked = locked_stages()
    found: set[str] = set()
    waiting = list(declared(stage)["deps"])
    while waiting:
        path = waiting.pop()
        for name in locked.keys() - found:
            if any(overlaps(out["path"], path) for out in locked[name].get("outs", [])):
                found.add(name)
                waiting += [dependency["path"] for dependency in locked[name].get("deps", [])]
    return sorted(found)


def upstream_hashes(stage: str) -> dict[str, str]:
    """Path → DVC hash of every output that `stage` (or `stage@item`) directly or indirectly reads."""
    locked = locked_stages()
    outs = [out for name in upstream_stages(stage) for out in locked[name].get("outs", [])]
    return {out["path"]: out.get("md5", "") for out in sorted(outs, key=lambda out: out["path"])}


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
    return origin_tags(stage) | {
        tags.STAGE: stage,
        tags.MACHINE: _machine(),
        tags.SOURCE_NAME: f"dcube.stages.{stage.partition('@')[0]}",
        tags.SOURCE_TYPE: "LOCAL",
        tags.PYTHON: platform.python_version(),
        **{f"{tags.VERSION}{package}": version(package) for package in PACKAGES},
    }


def locked_stages() -> dict[str, dict[str, Any]]:
    """What `dvc.lock` records, stage by stage."""
    return read_yaml(LOCK).get("stages") or {}


def declared(stage: str) -> dict[str, Any]:
    """The entry of `stage` (or `stage@item`) in dvc.yaml; empty where there is none."""
    name, _, item = stage.partition("@")
    entry = read_yaml(GRAPH).get("stages", {}).get(name, {})
    return entry | {"deps": [re.sub(r"\$\{item\.\w+\}", item, path) for path in entry.get("deps", [])]}


def overlaps(first: str, second: str) -> bool:
    return Path(first).is_relative_to(second) or Path(second).is_relative_to(first)


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
        done = subprocess.run(["git", *words], capture_output=True, text=True, env=child_environment(ENGLISH))
    except OSError:
        return ""
    if "dubious ownership" in done.stderr:
        raise DcubeError(
            "git does not trust this repository, which belongs to another user: say that you do with "
            f"`git config --global --add safe.directory '{Path.cwd()}'`"
        )
    return "" if done.returncode else done.stdout.strip()


def read_yaml(path: Path) -> dict[str, Any]:
    """The values of one of DVC's files; not to be changed, because who reads the same text again gets the same ones."""
    return _parsed(_text(path), str(path))


@lru_cache(maxsize=4)  # a stage reads `dvc.lock` a dozen times, at 0.15 s each
def _parsed(text: str, where: str) -> dict[str, Any]:
    return parse_yaml(text, where) or {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
