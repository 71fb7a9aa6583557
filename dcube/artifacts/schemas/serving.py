"""`serving.json` beside the candidate in a registered model: what it is served with, but for its weights."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact
from dcube.artifacts.schemas.decision import DecisionPolicy


class ServingConfig(Artifact):
    """Attributes:
    policy: how the model decides, as it was evaluated.
    code_revision: git commit of the pipeline that registered it; empty where it is unknown.
    """

    remedy: ClassVar[str] = "register that model again"

    policy: DecisionPolicy
    code_revision: str
