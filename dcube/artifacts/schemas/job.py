"""What a process that predicts the images of a bucket needs to know."""

from typing import ClassVar

from dcube.artifacts.schemas.artifact import Artifact, ArtifactPart
from dcube.artifacts.schemas.decision import DecisionPolicy


class StoredObject(ArtifactPart):
    """One object: its name below the prefix, and the hash by which S3 tells that it has changed."""

    object: str
    etag: str


class BatchJob(Artifact):
    """Attributes:
    model: folder with the candidate.
    identity: columns of every row that say which model predicts.
    policy: how decisions are made.
    source, results: addresses of the two prefixes.
    pending: what is to be predicted, in batches of `batch_size`.
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
