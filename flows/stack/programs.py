"""`programs.json`: commands of the servers, because supervisord's own file interprets quotes and %."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart

PROGRAMS = "programs.json"  # file in the platform's folder


class Program(ArtifactPart):
    """Command of one server.

    Attributes:
        env: variables that are added to the environment.
        cwd: working directory.
    """

    args: list[str]
    env: dict[str, str]
    cwd: str


class Programs(Artifact):
    """Commands of all servers, as name → command."""

    remedy: ClassVar[str] = "start the platform again"

    programs: dict[str, Program]
