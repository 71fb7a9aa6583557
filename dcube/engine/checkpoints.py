"""Checkpoints that survive a kill at any instant.

A checkpoint is one safetensors file, with the JSON state in its header, and a checksum file, which is written after it.
A file is only loaded if its checksum exists and agrees. The last two checkpoints are kept, so that one of them is
always complete, whenever the process dies.
"""

import hashlib
import json
import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Self

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from dcube.artifacts.checksums import has_checksum, is_whole, remove, write_checksummed
from dcube.errors import DcubeError
from dcube.runtime.checkpoint_sync import KEPT, CheckpointSync
from dcube.runtime.settings import read_settings

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training, in their own folder.

    Args:
        root: folder for the checkpoints of all trainings.
        key: `training_key` of this training. It changes with every parameter, so that other checkpoints are not found.
        sync: copies checkpoints to the bucket for other machines; None: there is no bucket.
    """

    def __init__(self, root: Path, key: str, sync: CheckpointSync | None = None) -> None:
        self.folder, self.sync = root / key, sync

    @classmethod
    def configured(cls, key: str) -> Self:
        """Return the checkpoints of a training in the folder, and the bucket if any, that the settings name."""
        return cls(read_settings().checkpoints, key, CheckpointSync.configured(key))

    def synced(self) -> AbstractContextManager[None]:
        """Inside the block, saved checkpoints are also uploaded to the bucket, if there is one."""
        return self.sync.uploading() if self.sync else nullcontext()

    def save(self, step: int, tensors: dict[str, Tensor], state: dict) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = safetensors.torch.save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            metadata={"state": json.dumps({**state, "step": step})},
        )
        path = self.folder / f"step-{step:09d}.safetensors"
        write_checksummed(path, content)
        for old in self._files()[:-KEPT]:
            remove(old)
        if self.sync:
            self.sync.offer(path)

    def latest(self) -> tuple[dict[str, Tensor], dict] | None:
        """Return tensors and state of the newest complete checkpoint; None if there is none.

        It is downloaded from the bucket if there is a newer one.

        Raises:
            DcubeError: if there are checkpoints and all of them are damaged, or the bucket cannot be used.
        """
        path = self._newest_whole()
        if self.sync:
            path = self.sync.fetch(self.folder, newer_than=path.name if path else "") or path
        if path is None and any(map(has_checksum, self._files())):
            raise DcubeError(
                f"all checkpoints in {self.folder} are damaged: remove that folder to train from the start"
            )
        return _read(path) if path else None

    def _newest_whole(self) -> Path | None:
        for path in filter(has_checksum, reversed(self._files())):
            if is_whole(path):
                return path
            logger.warning("warning: checkpoint %s is damaged (checksum differs), trying the one before it", path)
        return None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    return safetensors.torch.load_file(path), state


def training_key(stage: str, params: dict, inputs: list[str], packages: list[str]) -> str:
    """Return the stage's name with a hash of everything that defines the training, including the torch version.

    Args:
        stage: name of the stage.
        params: parameter groups that the training reads, as plain values.
        inputs: fingerprints of the data and weights that it starts from.
        packages: packages of `dcube` whose source code defines it.
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
