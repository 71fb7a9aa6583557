"""Instructions for a process that predicts on the images in a bucket."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart
from dcube.artifacts.schemas.decision import DecisionPolicy


class StoredObject(ArtifactPart):
    """One object: its name below the prefix, and its ETag, which S3 changes with the content."""

    object: str
    etag: str


class BatchJob(Artifact):
    """Instructions for one batch prediction.

    Attributes:
        model: folder of the candidate.
        identity: columns, the same in every row, that identify the model.
        policy: how decisions are made.
        source, results: addresses of the prefixes for images and results.
        pending: images to predict, in batches of `batch_size`.
    """

    remedy: ClassVar[str] = "start the flow again"

    model: str
    identity: dict[str, str]
    source: str
    results: str
    policy: DecisionPolicy
    batch_size: int
    pending: list[StoredObject]

    @property
    def batches(self) -> list[list[StoredObject]]:
        return [self.pending[start : start + self.batch_size] for start in range(0, len(self.pending), self.batch_size)]
