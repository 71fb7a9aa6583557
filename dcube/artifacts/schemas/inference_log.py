"""The two kinds of lines in the inference log: predictions and feedback."""

from typing import ClassVar, Literal

from pydantic import ConfigDict

from dcube.artifacts.schemas.artifact import Artifact
from dcube.artifacts.schemas.moment import Moment

Source = Literal["truth", "reader"]
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
    """The class of an image: the truth that became known later, or the opinion of a reader."""

    label: str
    source: Source
    fed_back_at: Moment
