"""`programs.json`: what supervisord's own file cannot hold of the servers, as it takes quotes and % for its own."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart

PROGRAMS = "programs.json"  # in the platform's folder


class Program(ArtifactPart):
    """Attributes:
    env: on top of the process's own.
    cwd: the directory that it runs in.
    """

    args: list[str]
    env: dict[str, str]
    cwd: str


class Programs(Artifact):
    """Attributes:
    programs: name → how it is started.
    """

    remedy: ClassVar[str] = "start the platform again"

    programs: dict[str, Program]
