"""`manifest.json` of a registered version: everything that was registered, so that a later change is noticed."""

from typing import ClassVar

from dcube.artifacts.artifact import Artifact


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
    files: dict[str, dict[str, str]]
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
