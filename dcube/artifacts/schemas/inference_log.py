"""The two kinds of lines of the inference log."""

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
    """The columns of `predict` without names; extra ones are the classes' probabilities, and who predicted.

    Attributes:
        confidence, entropy: None where the model gave no finite probabilities.
        brightness, contrast, dark, bright: of the preprocessed image (`dcube.inference.drift`).
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
    """What an image shows.

    Attributes:
        source: `truth`, as it became known, or the name of the reader whose opinion it is.
    """

    label: str
    source: str = Field(min_length=1, max_length=64)
    fed_back_at: Moment
