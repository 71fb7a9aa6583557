"""`run.json` and `metrics.jsonl` of a run that is waiting to be sent to MLflow.

The format version in `run.json` applies to the whole folder.
"""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart


class RunHeader(Artifact):
    """What is needed to create or find the run in MLflow.

    Attributes:
        tags: tags of the run, including its key and its pipeline.
        dataset: fields of an `mlflow.entities.Dataset`.
        start_time: in milliseconds since the epoch.
        run_id: MLflow's id; None until the run exists there.
        status: final status; None until the run has ended.
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
        time: in milliseconds since the epoch.
        values: metric → value at this step.
    """

    step: int
    time: int
    values: dict[str, float]
