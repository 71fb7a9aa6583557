"""`run.json` and `metrics.jsonl` of a run that is not sent to MLflow yet: one format version for the whole folder."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart


class RunHeader(Artifact):
    """How to create or find a run.

    Attributes:
        tags: its key and its pipeline among them.
        dataset: an `mlflow.entities.Dataset`.
        start_time: in milliseconds.
        run_id: as soon as the run exists.
        status: as soon as it has ended.
    """

    remedy: ClassVar[str] = "correct it, or delete the folder"

    experiment: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    dataset: dict[str, str] | None
    start_time: int
    run_id: str | None = None
    status: str | None = None


class MetricRow(ArtifactPart):
    """A line of `metrics.jsonl`.

    Attributes:
        time: in milliseconds.
        values: name → value at this step.
    """

    step: int
    time: int
    values: dict[str, float]
