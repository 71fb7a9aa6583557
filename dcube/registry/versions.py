"""One registered model a task: every evaluated candidate is a version, and the aliases say which one counts.

`challenger` is the best candidate of the last pipeline; `champion` moves by a decision (`promotion`).
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
    """What a registered model holds at one moment.

    Attributes:
        entries: its versions, the newest first.
        aliases: alias → version.
    """

    name: str
    entries: "list[ModelVersion]"
    aliases: Mapping[str, str]
    tags: Mapping[str, str]

    def newest(self, number: int) -> "list[ModelVersion]":
        """Only so many, and those that an alias names."""
        named = set(self.aliases.values())
        return self.entries[:number] + [it for it in self.entries[number:] if version_number(it) in named]

    def history(self) -> list[Event]:
        """Who became champion, the oldest first; also of versions that were deleted since."""
        return events_of(self._versions(), self.tags)

    def champion_moved_by_hand(self) -> str:
        """A sentence where the alias `champion` is not where the last event put it, or an event was forged, else
        nothing."""
        if forged := forged_event(self._versions(), self.tags):
            return f"{forged} of {self.name}: it was changed by hand"
        events, at = self.history(), self.aliases.get(CHAMPION)
        if at == (events[-1].version if events else None):
            return ""
        return f"the alias {CHAMPION} of {self.name} was moved outside D-Cube: it is at version {at or 'none'}"

    def _versions(self) -> list[Version]:
        return [Version(entry, None) for entry in self.entries]


class Registry:
    """One registered model on one tracking server."""

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.client, self.name = client, name

    @classmethod
    def created(cls, client: "MlflowClient", name: str) -> "Registry":
        """The registered model of that name, new where there is none.

        Raises:
            DcubeError: somebody else made one of that name.
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
    def existing(cls, name: str) -> "Registry":
        """The registered model of that name on the server of `MLFLOW_TRACKING_URI`.

        Raises:
            DcubeError: there is none, with the names that there are.
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
        """All, the newest first.

        Args:
            newest: only so many, and those that an alias names.
        """
        entries = self._entries() if newest is None else self.snapshot().newest(newest)
        return with_source_runs(self.client, entries)

    def version(self, which: str) -> Version:
        """Raises: DcubeError: there is none of this number."""
        try:
            entry = self.client.get_model_version(self.name, which)
        except MlflowException as error:
            if not is_missing(error):
                raise
            numbers = ", ".join(version.version for version in reversed(self.versions()))
            raise DcubeError(f"{self.name} has no version {which!r}: it has {numbers or 'none'}") from None
        return with_source_run(self.client, entry)

    def find(self, wanted_tags: Mapping[str, str]) -> Version | None:
        """The newest version (by its number) whose source run has these tags; one whose run was deleted is none."""
        wanted = condition({tags.REGISTERED_MODEL: self.name, **wanted_tags})
        found = [
            Version(entry, run)
            for run in all_runs(self.client, wanted)
            for entry in self.client.search_model_versions(f"name = '{self.name}' and run_id = '{run.info.run_id}'")
        ]
        return max(found, key=lambda version: int(version.version), default=None)

    def aliases(self) -> dict[str, str]:
        """Alias → version."""
        return aliases_of(self.client.get_registered_model(self.name))

    def holder(self, alias: str) -> Version | None:
        held = self.aliases().get(alias)
        return with_source_run(self.client, self.client.get_model_version(self.name, held)) if held else None

    def verified(self, version: Version, folder: Path, code: bool = True) -> VerificationResult:
        """Its files, brought into `folder`, and what of it is not as registered; `code` as in `verify`."""
        return verify(self.client, version.entry, version.run, folder, code)

    def predictions(self, version: Version) -> Predictions:
        """What the version said about every test image.

        Raises:
            DcubeError: the version is not what was registered, or its metrics are not those of these predictions.
        """
        with TemporaryDirectory() as folder:
            files = self.verified(version, Path(folder), code=False).or_refuse()
            evaluation = files / evaluation_artifacts(version.needed(tags.MODEL))
            predictions = Predictions.load(evaluation / PREDICTIONS)
            refuse_contradiction(Metrics.load(evaluation / METRICS_FILE), predictions, f"{self.name}/{version.version}")
            return predictions

    def set_alias(self, alias: str, version: str) -> None:
        """Move an alias, and say so on the registered model's page. `promotion` moves the champion's, with an event."""
        after_collision()(self.client.set_registered_model_alias, self.name, alias, version)
        announce(self.client, self.name, (CHAMPION, CHALLENGER))

    def snapshot(self) -> ModelSnapshot:
        """In two requests; the versions first, since who becomes champion writes an event before the alias."""
        entries, model = self._entries(), self.client.get_registered_model(self.name)
        return ModelSnapshot(self.name, entries, aliases_of(model), model.tags)

    def history(self) -> list[Event]:
        """Who became champion, the oldest first; also of versions that were deleted since."""
        return self.snapshot().history()

    def champion_moved_by_hand(self) -> str:
        """As of `ModelSnapshot`, after another look: a promotion may be under way."""
        found = ""

        def is_in_order() -> bool:
            nonlocal found
            found = self.snapshot().champion_moved_by_hand()
            return not found

        retries.PROMOTION.wait_until(is_in_order)
        return found

    def _entries(self) -> "list[ModelVersion]":
        """The newest first."""
        found, page = [], None
        while page != "":
            entries = self.client.search_model_versions(f"name = '{self.name}'", page_token=page)
            found += entries
            page = entries.token or ""
        return sorted(found, key=lambda entry: -int(entry.version))


def evaluation_artifacts(model: str) -> str:
    """Where the run that registered `model` keeps its evaluation."""
    return f"evaluation/{model}"
