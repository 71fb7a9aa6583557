"""`registered.json`: what the stage `register` has put into the registry."""

from typing import ClassVar

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact, remedy_of_stage


class Registered(Artifact):
    """Attributes:
    name: of the registered model.
    versions: candidate → version.
    aliases: alias → version.
    challenger: candidate; None where only controls were evaluated.
    origin: tags that say what the results come from: commit, parameters, data, and DVC's hash of every output read.
    """

    remedy: ClassVar[str] = remedy_of_stage("register")

    name: str
    versions: dict[str, int]
    aliases: dict[str, int]
    challenger: str | None
    origin: dict[str, str] = Field(default_factory=dict)
