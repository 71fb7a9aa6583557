"""A version of a registered model together with its source run, which contains its origin, parameters and metrics."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from dcube.errors import DcubeError
from dcube.tracking import tags
from dcube.tracking.mlflow_client import all_runs, is_missing, version_number

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

AT_ONCE = 100  # largest number of runs per request
METRICS = (tags.TEST_METRIC, tags.VALIDATION_METRIC)
# Anybody with an account can write tags. Those that go on to git, DVC, MLflow or the file system are checked by these
# patterns; the text is for the error message.
RUN_ID = ("[0-9a-f]{32}", "the id of an MLflow run")
FORMATS = {
    tags.MODEL: (r"\w[\w.-]*", "a name of letters, digits and `_`, `-`, `.`"),
    tags.COMMIT: ("[0-9a-f]{40}|[0-9a-f]{64}|none", "a git commit"),
    tags.DATA: (r"[0-9a-f]{32}(\.dir)?|none", "a hash of DVC"),
    **dict.fromkeys((tags.DIFFUSION_RUN, tags.TRAINING_RUN, tags.EVALUATION_RUN, tags.REGISTRATION_RUN), RUN_ID),
}


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        entry: entry of the registry.
        run: source run of the version; None if it was deleted permanently.
    """

    entry: "ModelVersion"
    run: "Run | None"

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def version(self) -> str:
        return version_number(self.entry)

    @property
    def run_id(self) -> str:
        """Id of the source run; empty if the version was registered outside D-Cube without a run."""
        return self.entry.run_id or ""

    @property
    def registration_run_id(self) -> str:
        """Id of the run that registered all candidates of the pipeline, and contains the files that they share."""
        return self.tags.get(tags.REGISTRATION_RUN, self.run_id)

    @property
    def creation_timestamp(self) -> int:
        return self.entry.creation_timestamp

    @property
    def description(self) -> str:
        return self.entry.description

    @cached_property
    def tags(self) -> dict[str, str]:
        """Tags of the source run, which record the version's origin, and of the version itself, which are for people.

        Raises:
            DcubeError: if a tag does not have the format that this program writes.
        """
        known = (self.run.data.tags if self.run else {}) | self.entry.tags
        for name, (pattern, words) in FORMATS.items():
            if name in known and not re.fullmatch(pattern, known[name]):
                raise self._changed(name, known[name], words)
        return known

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Metrics `test.NAME` and `validation.NAME`, from the source run or else from the version's tags."""
        named = {name: value for name, value in self.entry.tags.items() if name.startswith(METRICS)}
        recorded = {name: self._number(name, value) for name, value in named.items()}
        return recorded | (self.run.data.metrics if self.run else {})

    def _number(self, tag: str, value: str) -> float:
        try:
            return float(value)
        except ValueError:
            raise self._changed(tag, value, "a number") from None

    def _changed(self, tag: str, value: str, words: str) -> DcubeError:
        return DcubeError(
            f"the tag {tag} of {self.name} version {self.version} is {value!r}, and should be {words}: it was "
            "changed by hand; set it again, or register that model again"
        )

    def needed(self, tag: str) -> str:
        """Return a required tag.

        Raises:
            DcubeError: if the tag was deleted with the source run, or never existed.
        """
        if tag not in self.tags:
            lost = f"its source run {self.run_id} was deleted for good" if self.run_id and not self.run else ""
            raise DcubeError(
                f"nothing is known of the origin of {self.name} version {self.version}: "
                f"{lost or f'it has no tag {tag}, so this program did not register it'}: register that model again "
                "with `dvc repro --force --single-item register`"
            )
        return self.tags[tag]


def with_source_run(client: "MlflowClient", entry: "ModelVersion") -> Version:
    """Return the version with its source run, also with a deleted run that MLflow still has."""
    try:
        return Version(entry, client.get_run(entry.run_id) if entry.run_id else None)
    except MlflowException as error:
        if not is_missing(error):
            raise
        return Version(entry, None)


def with_source_runs(client: "MlflowClient", entries: Sequence["ModelVersion"]) -> list[Version]:
    """Return the versions with their source runs, in few requests."""
    ids = [entry.run_id for entry in entries if entry.run_id]
    runs: dict[str, Run] = {}
    for start in range(0, len(ids), AT_ONCE):
        wanted = ", ".join(f"'{run_id}'" for run_id in ids[start : start + AT_ONCE])
        runs |= {run.info.run_id: run for run in all_runs(client, f"attributes.run_id IN ({wanted})", deleted=True)}
    return [
        Version(entry, runs[entry.run_id]) if entry.run_id in runs else with_source_run(client, entry)
        for entry in entries
    ]


def readable(versions: Iterable[Version]) -> tuple[list[Version], list[str]]:
    """Return the versions whose tags can be read, and one message for each of the others.

    A damaged version must not hide the rest of a list.
    """
    found, problems = [], []
    for version in versions:
        try:
            _ = version.tags, version.metrics
            found.append(version)
        except DcubeError as error:
            problems.append(f"left out: {error}")
    return found, problems


def condition(wanted: Mapping[str, str]) -> str:
    """Return an MLflow search filter for runs or versions with these tags."""
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
