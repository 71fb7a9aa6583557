"""`serving.json` beside the candidate in a registered model: settings for serving."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact
from dcube.artifacts.schemas.decision import DecisionPolicy


class ServingConfig(Artifact):
    """Contents of `serving.json`.

    Attributes:
        policy: how the model decides, the same as in its evaluation.
        code_revision: git commit of the pipeline that registered the model, with `+uncommitted` if its code differed
            from the commit; empty if it is unknown.
    """

    remedy: ClassVar[str] = "register that model again"

    policy: DecisionPolicy
    code_revision: str
