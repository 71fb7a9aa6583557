"""Base classes of the files that stages, processes and the registry exchange.

Each file is one frozen pydantic model with a format version.
"""

import json
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dcube.artifacts.atomic import atomic_write
from dcube.errors import DcubeError

FORMAT_VERSION = "format_version"
PROBLEMS_SHOWN = 3


class ArtifactPart(BaseModel):
    """A part of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="constants")


class Artifact(ArtifactPart):
    """One JSON file.

    Attributes:
        remedy: end of the error message for a file that is missing or does not fit: how to correct it.
    """

    remedy: ClassVar[str]
    format_version: Literal[1] = 1

    def save(self, path: Path) -> None:
        atomic_write(path, (self.model_dump_json(indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file. Raises `DcubeError` if it is missing or damaged, or has another format version or schema."""
        try:
            content = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise DcubeError(f"{path} is missing: {cls.remedy}") from None
        except UnicodeDecodeError:
            raise DcubeError(f"{path} is not JSON: {cls.remedy}") from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: str | bytes, where: str) -> Self:
        """Parse the artifact from JSON. `where` names its source in error messages. Raises as `load` does."""
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:  # ValueError also for a number with too many digits
            raise DcubeError(f"{where} is not JSON ({error}): {cls.remedy}") from None
        known = cls.model_fields[FORMAT_VERSION].default
        found = values.get(FORMAT_VERSION) if isinstance(values, dict) else None
        if found != known:
            version = "no format version" if found is None else f"format version {found}"
            raise DcubeError(f"{where} has {version}, and this version of D-Cube reads {known}: {cls.remedy}")
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            shown = "; ".join(problems[:PROBLEMS_SHOWN])
            more = f" and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
            raise DcubeError(f"{where} does not fit this version of D-Cube ({shown}{more}): {cls.remedy}") from None


SomeArtifact = TypeVar("SomeArtifact", bound=Artifact)


def remedy_of_stage(stage: str) -> str:
    """Return the remedy for a file that a stage of dvc.yaml writes."""
    return f"run `dvc repro {stage}`; of a registered model, register it again"
