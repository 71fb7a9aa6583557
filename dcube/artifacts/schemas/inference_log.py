"""The two kinds of lines in the inference log: predictions and feedback."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from dcube.artifacts.schemas.artifact import Artifact
from dcube.artifacts.schemas.moment import Moment

TRUTH = "truth"
PeriodLength = Literal["day", "week", "month"]


class LogLine(Artifact):
    remedy: ClassVar[str] = "restore the line, or move the file away"

    input_sha256: str


class LoggedPrediction(LogLine):
    """A prediction: the columns of `dcube predict` except `image` and `problem`, which may contain file names.

    Extra fields are the class probabilities and the identity of the model.

    Attributes:
        confidence, entropy: None if the model gave no finite probabilities.
        brightness, contrast, dark, bright: properties of the preprocessed image (`dcube.inference.drift`).
    """

    model_config = ConfigDict(extra="allow")

    predicted_at: Moment
    decision: str
    prediction: str
    confidence: float | None
    entropy: float | None
    brightness: float
    contrast: float
    dark: float
    bright: float
    model: str
    weights_sha256: str


class Feedback(LogLine):
    """The class of an image, as it became known later.

    Attributes:
        source: `truth` for the confirmed class, or the name of the reader whose opinion it is.
    """

    label: str
    source: str = Field(min_length=1, max_length=64)
    fed_back_at: Moment
