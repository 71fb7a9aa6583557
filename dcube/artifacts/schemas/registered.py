"""`registered.json`: the versions that the stage `register` has created."""

from typing import ClassVar

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact, remedy_of_stage


class Registered(Artifact):
    """Contents of `registered.json`.

    Attributes:
        name: name of the registered model.
        versions: candidate → version.
        aliases: alias → version.
        challenger: candidate that is the challenger; None if only controls were evaluated.
        origin: tags with the origin of the results: commit, parameters, data, and DVC's hash of each output read.
    """

    remedy: ClassVar[str] = remedy_of_stage("register")

    name: str
    versions: dict[str, int]
    aliases: dict[str, int]
    challenger: str | None
    origin: dict[str, str] = Field(default_factory=dict)
