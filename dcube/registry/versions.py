"""One registered model a task: every evaluated candidate is a version, and the aliases say which one counts.

`challenger` is the best candidate of the last pipeline; `champion` moves by a decision, and every move leaves an
event with its version, so that the champions' history stands in the registry itself.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from dcube.artifacts.layout import METRICS_FILE, PREDICTIONS
from dcube.artifacts.schemas.metrics import Metrics
from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import refuse_contradiction
from dcube.registry.champions import (
    FIRST,
    PROMOTED,
    ROLLED_BACK,
    ChampionChangedError,
    Event,
    champion_before,
    events_of,
    now,
)
from dcube.registry.eligibility import refuse_control, refuse_missing_champion, refuse_other_test, tested_elsewhere
from dcube.registry.model_page import TASK, announce
from dcube.registry.promotion import IS_CHAMPION, NO_CHAMPION, PromotionPolicy, Proposal, as_record, judge
from dcube.registry.version import Version, condition, with_source_run, with_source_runs
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
from dcube.tracking.verification import Verified, verify

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER, CHAMPION = "challenger", "champion"


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
                    f"the registered model {name} was made by other means and holds no version of this program: have "
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
            choice = f"there are {', '.join(known)}" if known else f"none is: {remedy}"
            raise DcubeError(f"no registered model {name!r} in {without_password(tracking_uri())}: {choice}") from None
        return cls(client, name)

    def versions(self, newest: int | None = None) -> list[Version]:
        """All, the newest first.

        Args:
            newest: only so many, and those that an alias names.
        """
        entries = self._entries()
        if newest is not None:
            named = set(self.aliases().values())
            entries = entries[:newest] + [it for it in entries[newest:] if version_number(it) in named]
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
        return aliases_of(self.client, self.name)

    def holder(self, alias: str) -> Version | None:
        held = self.aliases().get(alias)
        return with_source_run(self.client, self.client.get_model_version(self.name, held)) if held else None

    def verified(self, version: Version, folder: Path, code: bool = True) -> Verified:
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

    def name_challenger(self, version: Version) -> None:
        self._move(CHALLENGER, version.version)
        self._announce()

    def proposal(self, policy: PromotionPolicy) -> Proposal:
        """Compare challenger and champion.

        Raises:
            DcubeError: there is no challenger, or the two were tested on different images.
        """
        challenger, champion = self.holder(CHALLENGER), self.holder(CHAMPION)
        if challenger is None:
            raise DcubeError(
                f"{self.name} has no challenger: run `dvc repro --force --single-item register`, which names one"
            )
        if champion is None:
            refuse_missing_champion(self.name, self.history())
            self.refuse_unfit(challenger)
            verdict = NO_CHAMPION
        elif champion.version == challenger.version:
            verdict = IS_CHAMPION
        else:
            refuse_other_test(champion, challenger)
            refuse_control(challenger)
            verdict = judge(self.predictions(champion), self.predictions(challenger), policy)
        return Proposal(challenger, champion, policy, verdict)

    def promote(self, proposal: Proposal, who: str, why: str = "") -> Event:
        """Make the challenger champion; `why` goes before the verdict's own reason.

        Raises:
            DcubeError: the verdict is against it, or an alias moved since the comparison.
        """
        if not proposal.verdict.promoted:
            raise DcubeError(f"version {proposal.challenger.version} is not promoted: {proposal.verdict.reason}")
        if self.aliases().get(CHALLENGER) != proposal.challenger.version:
            raise DcubeError(f"the challenger of {self.name} has changed: compare again")
        return self._appoint(
            Event(
                proposal.challenger.version,
                how=PROMOTED if proposal.champion else FIRST,
                who=who,
                why=": ".join(filter(None, (why, proposal.verdict.reason))),
                when=now(),
                replaced=proposal.champion.version if proposal.champion else None,
                record=as_record(proposal.policy, proposal.verdict),
            )
        )

    def appoint_first(self, version: Version, who: str) -> None:
        """Make a version the first champion, unless another pipeline does so at the same moment.

        Nothing happens where there was a champion whose version was deleted: a person decides who follows it.
        """
        if self.history():
            return
        event = Event(version.version, FIRST, who, NO_CHAMPION.reason, when=now(), replaced=None)
        try:
            appointed = self._appoint(event)
        except ChampionChangedError:
            return
        self._settle(appointed)

    def rollback(self, who: str, why: str, to: str | None = None) -> Event:
        """Make the champion before this one champion again, or the version `to`, without a comparison.

        Also where the champion's version was deleted.

        Raises:
            DcubeError: there is nothing to go back to, the version is not fit to be champion, or no reason is given.
        """
        if not why.strip():
            raise DcubeError("a rollback needs a reason: say why with --reason")
        current = self.aliases().get(CHAMPION)
        if current is None and not self.history():
            raise DcubeError(f"{self.name} has no champion: nothing can be rolled back")
        target = self.version(to or self.previous_champion())
        if target.version == current:
            raise DcubeError(f"version {target.version} of {self.name} is the champion already")
        self.refuse_unfit(target)
        if current and tested_elsewhere(target, self.version(current)):
            why = f"{why} (tested on other images than version {current})"
        return self._appoint(Event(target.version, ROLLED_BACK, who, why, when=now(), replaced=current))

    def history(self) -> list[Event]:
        """Who became champion, the oldest first; also of versions that were deleted since."""
        return events_of(self.versions(), self.client.get_registered_model(self.name).tags)

    def champion_moved_by_hand(self) -> str:
        """A sentence where the alias `champion` is not where the last event put it, else nothing."""
        events, held = self.history(), self.aliases().get(CHAMPION)
        if held == (events[-1].version if events else None):
            return ""
        return f"the alias {CHAMPION} of {self.name} was moved by other means: it is at version {held or 'none'}"

    def previous_champion(self) -> str:
        """The version that a rollback returns to."""
        there = {version.version for version in self.versions()}
        known = [event for event in self.history() if event.version in there]
        before = champion_before(known, self.aliases().get(CHAMPION))
        if before is None:
            raise DcubeError(f"{self.name} had no champion before this one: name a version with --to")
        return before

    def _appoint(self, event: Event) -> Event:
        """The event goes first: an alias that moved without a trace would be worse than a trace without a move."""
        if self.aliases().get(CHAMPION) != event.replaced:
            raise ChampionChangedError(f"the champion of {self.name} has changed: compare again")
        event = replace(event, number=len(self.history()))
        self.client.set_model_version_tag(self.name, event.version, event.key, event.text)
        self.client.set_registered_model_tag(self.name, event.key_of_model, event.text_with_version)
        try:
            if event.record:
                record = json.dumps(event.record, ensure_ascii=False, indent=1)
                self.client.log_text(self.version(event.version).run_id, record, f"{event.key}.json")
            self._move(CHAMPION, event.version)
        except BaseException:
            if self.aliases().get(CHAMPION) != event.version:  # it may have moved, and only the answer be lost
                self._forget(event)
            raise
        self._announce()
        return event

    def _forget(self, event: Event) -> None:
        self.client.delete_model_version_tag(self.name, event.version, event.key)
        self.client.delete_registered_model_tag(self.name, event.key_of_model)

    def _settle(self, event: Event) -> None:
        """Of two pipelines that find no champion at the same moment, the one with the lower version names the first.

        Each looks once its own event stands, so that at least the later one sees both. An older first champion lost
        its alias since, by a person's hand.
        """
        rivals = [it for it in self.history() if it.how == FIRST and it.beside(event)]
        first, *later = sorted(rivals, key=lambda it: int(it.version))
        for other in later:
            self._forget(other)
        if later:
            self._move(CHAMPION, first.version)
            self._announce()

    def _move(self, alias: str, version: str) -> None:
        after_collision()(self.client.set_registered_model_alias, self.name, alias, version)

    def _announce(self) -> None:
        announce(self.client, self.name, (CHAMPION, CHALLENGER))

    def _entries(self) -> "list[ModelVersion]":
        """The newest first."""
        found, page = [], None
        while page != "":
            answer = self.client.search_model_versions(f"name = '{self.name}'", page_token=page)
            found += answer
            page = answer.token or ""
        return sorted(found, key=lambda entry: -int(entry.version))

    def refuse_unfit(self, version: Version) -> None:
        """Raises: DcubeError: it must not be champion: a control, or not what was registered."""
        refuse_control(version)
        self.predictions(version)


def evaluation_artifacts(model: str) -> str:
    """Where the run that registered `model` keeps its evaluation."""
    return f"evaluation/{model}"
