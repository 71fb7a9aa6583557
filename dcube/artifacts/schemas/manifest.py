"""`manifest.json` of a registered version: everything that was registered, so that a later change is noticed."""

from pathlib import PurePosixPath
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from dcube.artifacts.schemas.artifact import Artifact


def _below(path: str) -> str:
    """Whoever writes a version writes its manifest, and its files are brought to these places."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} is no path below the version")
    return path


Place = Annotated[str, AfterValidator(_below)]


class VersionManifest(Artifact):
    """Attributes:
    name, version: of the registered model.
    registration_run: the MLflow run that holds the shared files, `origin` and `report`.
    files: place → path → sha256. Places: `model` (the model as MLflow loads it), a folder of the source run
        (`evaluation/NAME`), and folders of the registration run (`origin`, `report`).
    tags: of the source run and of the version, but for those that people write.
    params, metrics: of the source run.
    """

    remedy: ClassVar[str] = "register that model again"

    name: str
    version: str
    registration_run: str
    files: dict[Place, dict[Place, str]]
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
