"""What a process that predicts the images of a bucket needs to know."""

from typing import ClassVar

from dcube.artifacts.artifact import Artifact, Part


class Stored(Part):
    """One object: its name below the prefix, and the hash by which S3 tells that it has changed."""

    object: str
    etag: str


class Job(Artifact):
    """Attributes:
    model: folder with the candidate.
    source, results: addresses of the two prefixes.
    waiting: what is to be predicted, in batches of `batch_size`.
    """

    remedy: ClassVar[str] = "start the flow again"

    model: str
    source: str
    results: str
    abstain_below: float
    batch_size: int
    waiting: list[Stored]

    @property
    def batches(self) -> list[list[Stored]]:
        return [self.waiting[start : start + self.batch_size] for start in range(0, len(self.waiting), self.batch_size)]
