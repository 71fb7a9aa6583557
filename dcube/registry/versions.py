"""One registered model per task: every evaluated candidate is a version, and aliases mark the version to use.

`challenger` is the best candidate of the last pipeline. `champion` moves only by a decision (see `promotion`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from dcube.artifacts.layout import METRICS_FILE, PREDICTIONS
from dcube.artifacts.schemas.metrics import Metrics
from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import refuse_contradiction
from dcube.registry.champions import Event, events_of, forged_event
from dcube.registry.model_page import TASK, announce
from dcube.registry.version import Version, condition, with_source_run, with_source_runs
from dcube.runtime import retries
from dcube.tracking import tags
from dcube.tracking.mlflow_client import (
    after_collision,
    aliases_of,
    all_runs,
    existing_tracking_client,
    is_missing,
    tracking_uri,
    version_number,
    without_password,
)  # fmt: skip
from dcube.tracking.verification import VerificationResult, verify

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER, CHAMPION = "challenger", "champion"


@dataclass(frozen=True)
class ModelSnapshot:
    """State of a registered model at one moment.

    Attributes:
        entries: versions, the newest first.
        aliases: alias → version.
    """

    name: str
    entries: "list[ModelVersion]"
    aliases: Mapping[str, str]
    tags: Mapping[str, str]

    def newest(self, number: int) -> "list[ModelVersion]":
        """Return the newest `number` versions, and all older ones that have an alias."""
        named = set(self.aliases.values())
        return self.entries[:number] + [it for it in self.entries[number:] if version_number(it) in named]

    def history(self) -> list[Event]:
        """Return the events of all champions, the oldest first, including versions that were deleted since."""
        return events_of(self._versions(), self.tags)

    def champion_moved_by_hand(self) -> str:
        """Return a message if the alias `champion` contradicts the last event or an event was forged, else ""."""
        if forged := forged_event(self._versions(), self.tags):
            return f"{self.name}: {forged}: one of the two was changed or deleted by hand"
        events, at = self.history(), self.aliases.get(CHAMPION)
        if at == (events[-1].version if events else None):
            return ""
        return f"the alias {CHAMPION} of {self.name} was moved outside D-Cube: it is at version {at or 'none'}"

    def _versions(self) -> list[Version]:
        return [Version(entry, None) for entry in self.entries]


class RegisteredModel:
    """One registered model on one tracking server."""

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.client, self.name = client, name

    @classmethod
    def created(cls, client: "MlflowClient", name: str) -> "RegisteredModel":
        """Return the registered model of this name, and create it if it does not exist.

        Raises:
            DcubeError: if a model of this name was not created by D-Cube.
        """
        try:
            client.create_registered_model(name, description=TASK)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            described = client.get_registered_model(name).description or ""
            if TASK not in described and not any(
                tags.MANIFEST in entry.tags for entry in client.search_model_versions(f"name = '{name}'")
            ):
                raise DcubeError(
                    f"the registered model {name} was not created by D-Cube and holds no version of it: have "
                    "it renamed or deleted in MLflow, or choose another data.name"
                ) from None
        return cls(client, name)

    @classmethod
    def existing(cls, name: str) -> "RegisteredModel":
        """Return the registered model of this name on the server of `MLFLOW_TRACKING_URI`.

        Raises:
            DcubeError: if it does not exist; the message lists the existing names.
        """
        client = existing_tracking_client()
        try:
            client.get_registered_model(name)
        except MlflowException as error:
            if not is_missing(error):
                raise
            known = [model.name for model in client.search_registered_models()]
            remedy = "run `dvc repro`, then `dvc repro --force --single-item register`"
            choice = f"there are {', '.join(known)}" if known else f"none is registered there: {remedy}"
            raise DcubeError(f"no registered model {name!r} in {without_password(tracking_uri())}: {choice}") from None
        return cls(client, name)

    def versions(self, newest: int | None = None) -> list[Version]:
        """Return the versions, the newest first.

        Args:
            newest: number of versions; older ones are included only if they have an alias. None: all.
        """
        entries = self._entries() if newest is None else self.snapshot().newest(newest)
        return with_source_runs(self.client, entries)

    def version(self, which: str) -> Version:
        """Return the version of this number, or raise `DcubeError` if it does not exist."""
        try:
            entry = self.client.get_model_version(self.name, which)
        except MlflowException as error:
            if not is_missing(error):
                raise
            numbers = ", ".join(version.version for version in reversed(self.versions()))
            raise DcubeError(f"{self.name} has no version {which!r}: it has {numbers or 'none'}") from None
        return with_source_run(self.client, entry)

    def find(self, wanted_tags: Mapping[str, str]) -> Version | None:
        """Return the version with the highest number whose source run has these tags and was not deleted, or None."""
        wanted = condition({tags.REGISTERED_MODEL: self.name, **wanted_tags})
        found = [
            Version(entry, run)
            for run in all_runs(self.client, wanted)
            for entry in self.client.search_model_versions(f"name = '{self.name}' and run_id = '{run.info.run_id}'")
        ]
        return max(found, key=lambda version: int(version.version), default=None)

    def aliases(self) -> dict[str, str]:
        """Return alias → version."""
        return aliases_of(self.client.get_registered_model(self.name))

    def holder(self, alias: str) -> Version | None:
        held = self.aliases().get(alias)
        return with_source_run(self.client, self.client.get_model_version(self.name, held)) if held else None

    def verified(self, version: Version, folder: Path) -> VerificationResult:
        """Download a version's files into `folder` and compare it with its manifest."""
        return verify(self.client, version.entry, version.run, folder)

    def predictions(self, version: Version) -> Predictions:
        """Return the version's predictions for all test images.

        Raises:
            DcubeError: if the version differs from what was registered, or if its metrics contradict the predictions.
        """
        with TemporaryDirectory() as folder:
            files = self.verified(version, Path(folder)).or_refuse()
            evaluation = files / evaluation_artifacts(version.needed(tags.MODEL))
            predictions = Predictions.load(evaluation / PREDICTIONS)
            refuse_contradiction(Metrics.load(evaluation / METRICS_FILE), predictions, f"{self.name}/{version.version}")
            return predictions

    def set_alias(self, alias: str, version: str) -> None:
        """Move an alias and update the registered model's page. To change the champion, use `promotion` instead."""
        after_collision()(self.client.set_registered_model_alias, self.name, alias, version)
        announce(self.client, self.name, (CHAMPION, CHALLENGER))

    def snapshot(self) -> ModelSnapshot:
        """Read the state in two requests, the versions first, because a promotion writes its event before the alias."""
        entries, model = self._entries(), self.client.get_registered_model(self.name)
        return ModelSnapshot(self.name, entries, aliases_of(model), model.tags)

    def history(self) -> list[Event]:
        """Return the events of all champions, the oldest first, including versions that were deleted since."""
        return self.snapshot().history()

    def champion_moved_by_hand(self) -> str:
        """Return the message of `ModelSnapshot.champion_moved_by_hand` if it persists longer than a promotion takes."""
        if retries.PROMOTION.wait_until(lambda: not self.snapshot().champion_moved_by_hand()):
            return ""
        return self.snapshot().champion_moved_by_hand()

    def _entries(self) -> "list[ModelVersion]":
        """Return all versions, the newest first."""
        found, page = [], None
        while page != "":
            entries = self.client.search_model_versions(f"name = '{self.name}'", page_token=page)
            found += entries
            page = entries.token or ""
        return sorted(found, key=lambda entry: -int(entry.version))


def evaluation_artifacts(model: str) -> str:
    """Return the artifact folder with the evaluation of `model` in its source run."""
    return f"evaluation/{model}"
