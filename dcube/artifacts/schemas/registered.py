"""`registered.json`: what the stage `register` has put into the registry."""

from typing import ClassVar

from dcube.artifacts.artifact import Artifact, run_again


class Registered(Artifact):
    """Attributes:
    name: of the registered model.
    versions: candidate → version.
    aliases: alias → version.
    challenger: candidate; None where only controls were evaluated.
    """

    remedy: ClassVar[str] = run_again("register")

    name: str
    versions: dict[str, int]
    aliases: dict[str, int]
    challenger: str | None
