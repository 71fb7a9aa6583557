"""Checkpoints that survive a kill at any instant.

A checkpoint is one safetensors file (its header carries the JSON state) and, written after it, its checksum. Only a
file whose checksum stands beside it and agrees is ever loaded, and the last two are kept: whatever moment the process
dies at, the previous one is whole.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from dcube.engine.publish import write_durably
from dcube.errors import DcubeError

KEPT = 2
logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training, in a folder of its own.

    Args:
        root: where all trainings keep theirs.
        key: `training_key` of everything that defines this training: a changed parameter never finds a stranger's.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.key = key
        self.folder = root / key

    def save(self, step: int, tensors: dict[str, Tensor], state: dict) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = safetensors.torch.save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            metadata={"state": json.dumps({**state, "step": step})},
        )
        path = self.folder / f"step-{step:09d}.safetensors"
        write_durably(path, content)
        write_durably(_checksum_of(path), hashlib.sha256(content).hexdigest().encode())
        for old in self._files()[:-KEPT]:
            old.unlink()
            _checksum_of(old).unlink(missing_ok=True)

    def latest(self) -> tuple[dict[str, Tensor], dict] | None:
        """Tensors and state of the newest whole checkpoint; None where there is none at all.

        Raises:
            DcubeError: if there are checkpoints and all of them are damaged.
        """
        finished = [path for path in self._files() if _checksum_of(path).exists()]
        for path in reversed(finished):
            if hashlib.sha256(path.read_bytes()).hexdigest() == _checksum_of(path).read_text():
                with safe_open(path, framework="pt") as file:
                    state = json.loads(file.metadata()["state"])
                return safetensors.torch.load_file(path), state
            logger.warning("warning: checkpoint %s is damaged (checksum differs), trying the one before it", path)
        if finished:
            raise DcubeError(
                f"all checkpoints in {self.folder} are damaged: remove that folder to train from the start"
            )
        return None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))


def checkpoint_root(default: Path) -> Path:
    """Where checkpoints stand: `DCUBE_CHECKPOINTS` (a folder that several workspaces share) or the default."""
    return Path(os.environ.get("DCUBE_CHECKPOINTS", default))


def training_key(stage: str, params: dict, inputs: list[str], packages: list[str]) -> str:
    """Hash of everything that defines a training.

    Args:
        stage: its name.
        params: the parameter groups that it reads, as plain values.
        inputs: fingerprints of the data and weights that it starts from.
        packages: packages of `dcube` whose source defines it.
    """
    definition = [stage, params, inputs, _source_digest(packages), torch.__version__]
    return f"{stage}-{hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:16]}"


def _source_digest(packages: list[str]) -> str:
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for package in sorted(packages):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def _checksum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")
