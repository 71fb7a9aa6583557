"""`manifest.json` of a registered version: checksums and values of everything registered, to detect later changes."""

from pathlib import PurePosixPath
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from dcube.artifacts.schemas.artifact import Artifact


def _below(path: str) -> str:
    """Refuse a path outside the version: a manifest is not trusted, and files are downloaded to its paths."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} is no path below the version")
    return path


Place = Annotated[str, AfterValidator(_below)]


class VersionManifest(Artifact):
    """Contents of `manifest.json`.

    Attributes:
        name, version: name of the registered model, and its version.
        registration_run: MLflow run with the shared files, `origin` and `report`.
        files: place → path → sha256. Places: `model` (the model as MLflow loads it), a folder of the source run
            (`evaluation/NAME`), and folders of the registration run (`origin`, `report`).
        tags: tags of the source run and of the version, except those that people edit.
        params, metrics: parameters and metrics of the source run.
    """

    remedy: ClassVar[str] = "register that model again"

    name: str
    version: str
    registration_run: str
    files: dict[Place, dict[Place, str]]
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
