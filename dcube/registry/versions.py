"""One registered model a task: every evaluated candidate is a version, and the aliases say which one counts.

`challenger` is the best candidate of the last pipeline; `champion` moves by a decision, and every move leaves an
event with its version, so that the champions' history stands in the registry itself.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from dcube.artifacts.layout import PREDICTIONS
from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions
from dcube.registry.promotion import IS_CHAMPION, NO_CHAMPION, PromotionPolicy, Verdict, as_record, judge
from dcube.tracking import tags
from dcube.tracking.mlflow_client import (
    aliases_of,
    downloaded,
    existing_tracking_client,
    tracking_uri,
    version_number,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER, CHAMPION = "challenger", "champion"
TASK = (
    "All candidates for one task, D-Cube as well as its controls and baselines. "
    f"`{CHALLENGER}`: the best by validation of the last pipeline. "
    f"`{CHAMPION}`: the one to use; its predecessors, and who replaced them why: `dcube models --history`."
)


@dataclass(frozen=True)
class Event:
    """A version became champion.

    Attributes:
        how: `first`, `promoted` or `rolled back`.
        when: UTC, ISO 8601.
        replaced: the version that was champion before.
        record: policy and criteria of the comparison, where there was one.
    """

    version: str
    how: str
    who: str
    why: str
    when: str
    replaced: str | None
    record: dict | None = None


@dataclass(frozen=True)
class Proposal:
    """The challenger against the champion, and what the comparison says."""

    challenger: "ModelVersion"
    champion: "ModelVersion | None"
    policy: PromotionPolicy
    verdict: Verdict

    @property
    def title(self) -> str:
        against = f"champion {_named(self.champion)}" if self.champion else "no champion"
        return f"{self.challenger.name}: challenger {_named(self.challenger)} against {against}"


class Registry:
    """One registered model on one tracking server."""

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.client, self.name = client, name

    @classmethod
    def created(cls, client: "MlflowClient", name: str) -> "Registry":
        """The registered model of that name, new where there is none."""
        try:
            client.create_registered_model(name, description=TASK)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
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
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = [model.name for model in client.search_registered_models()]
            choice = f"there are {', '.join(known)}" if known else "none has been registered: run `dvc repro`"
            raise DcubeError(f"no registered model {name!r} in {tracking_uri()}: {choice}") from None
        return cls(client, name)

    def versions(self) -> "list[ModelVersion]":
        """All, the newest first."""
        found: list[ModelVersion] = []
        page = None
        while page != "":
            answer = self.client.search_model_versions(f"name = '{self.name}'", page_token=page)
            found += answer
            page = answer.token or ""
        return sorted(found, key=lambda version: -int(version.version))

    def version(self, which: str) -> "ModelVersion":
        try:
            return self.client.get_model_version(self.name, which)
        except MlflowException:
            numbers = ", ".join(version_number(version) for version in reversed(self.versions()))
            raise DcubeError(f"{self.name} has no version {which!r}: it has {numbers or 'none'}") from None

    def find(self, wanted_tags: Mapping[str, str]) -> "ModelVersion | None":
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted_tags.items())
        return next(iter(self.client.search_model_versions(f"name = '{self.name}' and {wanted}")), None)

    def aliases(self) -> dict[str, str]:
        """Alias → version."""
        return aliases_of(self.client, self.name)

    def holder(self, alias: str) -> "ModelVersion | None":
        held = self.aliases().get(alias)
        return self.client.get_model_version(self.name, held) if held else None

    def predictions(self, version: "ModelVersion") -> Predictions:
        """What the version said about every test image.

        Raises:
            DcubeError: they are gone.
        """
        path = f"{evaluation_artifacts(version.tags.get(tags.MODEL, ''))}/{PREDICTIONS}"
        with downloaded(self.client, version.run_id, path) as file:
            if file is None:
                raise DcubeError(
                    f"the predictions of {self.name} version {version.version} are gone ({path} of run "
                    f"{version.run_id}): evaluate and register that model again"
                )
            return Predictions.load(file)

    def name_challenger(self, version: "ModelVersion") -> None:
        self.client.set_registered_model_alias(self.name, CHALLENGER, version_number(version))

    def proposal(self, policy: PromotionPolicy) -> Proposal:
        """Compare challenger and champion.

        Raises:
            DcubeError: there is no challenger, or the two were tested on different images.
        """
        challenger, champion = self.holder(CHALLENGER), self.holder(CHAMPION)
        if challenger is None:
            raise DcubeError(f"{self.name} has no challenger: run `dvc repro register`, which names one")
        if champion is None:
            verdict = NO_CHAMPION
        elif version_number(champion) == version_number(challenger):
            verdict = IS_CHAMPION
        else:
            self._refuse_other_test(champion, challenger)
            verdict = judge(self.predictions(champion), self.predictions(challenger), policy)
        return Proposal(challenger, champion, policy, verdict)

    def promote(self, proposal: Proposal, who: str, why: str = "") -> Event:
        """Make the challenger champion; `why` goes before the verdict's own reason.

        Raises:
            DcubeError: the verdict is against it, or an alias moved since the comparison.
        """
        if not proposal.verdict.promoted:
            raise DcubeError(f"version {proposal.challenger.version} is not promoted: {proposal.verdict.reason}")
        if self.aliases().get(CHALLENGER) != version_number(proposal.challenger):
            raise DcubeError(f"the challenger of {self.name} has changed: compare again")
        return self._appoint(
            version_number(proposal.challenger),
            how="promoted" if proposal.champion else "first",
            who=who,
            why=": ".join(filter(None, (why, proposal.verdict.reason))),
            over=version_number(proposal.champion) if proposal.champion else None,
            record=as_record(proposal.policy, proposal.verdict),
        )

    def appoint_first(self, version: "ModelVersion", who: str) -> Event:
        """Make a version the first champion."""
        return self._appoint(version_number(version), how="first", who=who, why=NO_CHAMPION.reason, over=None)

    def rollback(self, who: str, why: str, to: str | None = None) -> Event:
        """Make the champion before this one champion again, or the version `to`, without a comparison.

        Raises:
            DcubeError: there is nothing to go back to, or no reason is given.
        """
        if not why.strip():
            raise DcubeError("a rollback needs a reason: say why with --reason")
        current = self.aliases().get(CHAMPION)
        if current is None:
            raise DcubeError(f"{self.name} has no champion: nothing can be rolled back")
        target = version_number(self.version(to)) if to else self.previous_champion()
        if target == current:
            raise DcubeError(f"version {target} of {self.name} is the champion already")
        return self._appoint(target, how="rolled back", who=who, why=why, over=current)

    def history(self) -> list[Event]:
        """Who became champion, the oldest first."""
        events = [
            Event(version_number(version), **json.loads(value))
            for version in self.versions()
            for key, value in version.tags.items()
            if key.startswith(tags.CHAMPION)
        ]
        return sorted(events, key=lambda event: event.when)

    def previous_champion(self) -> str:
        """The version that a rollback returns to: two rollbacks in a row go back two champions."""
        line: list[str] = []
        for event in self.history():
            if event.how == "rolled back" and event.version in line:
                while line[-1] != event.version:
                    line.pop()
            else:
                line.append(event.version)
        current = self.aliases().get(CHAMPION)
        if line and line[-1] == current:
            line.pop()
        if not line:
            raise DcubeError(f"{self.name} had no champion before this one: name a version with --to")
        return line[-1]

    def _appoint(
        self, target: str, how: str, who: str, why: str, over: str | None, record: dict | None = None
    ) -> Event:
        """The event goes first: an alias that moved without a trace would be worse than a trace without a move."""
        if self.aliases().get(CHAMPION) != over:
            raise DcubeError(f"the champion of {self.name} has changed: compare again")
        moment = datetime.now(UTC)
        event = Event(target, how, who, why, moment.isoformat(timespec="microseconds"), over, record)
        told = {key: value for key, value in asdict(event).items() if key != "version"}
        key = tags.CHAMPION + moment.strftime("%Y%m%dT%H%M%S.%fZ")
        self.client.set_model_version_tag(self.name, target, key, json.dumps(told, ensure_ascii=False))
        try:
            self.client.set_registered_model_alias(self.name, CHAMPION, target)
        except BaseException:
            self.client.delete_model_version_tag(self.name, target, key)
            raise
        return event

    def _refuse_other_test(self, champion: "ModelVersion", challenger: "ModelVersion") -> None:
        tests = [version.tags.get(tags.TEST, "unknown") for version in (champion, challenger)]
        if tests[0] != tests[1]:
            raise DcubeError(
                f"champion (version {champion.version}) and challenger (version {challenger.version}) were tested on "
                f"different images ({tests[0][:12]} and {tests[1][:12]}): train the champion's parameters on the "
                f"challenger's data and compare with that, or appoint with `dcube rollback {self.name} --to "
                f"{challenger.version} --reason …`"
            )


def evaluation_artifacts(model: str) -> str:
    """Where the run that registered `model` keeps its evaluation."""
    return f"evaluation/{model}"


def parse_reference(reference: str) -> tuple[str, str, bool]:
    """`MODEL@ALIAS` or `MODEL/VERSION` as (model, alias or version, whether it is an alias)."""
    match = re.fullmatch(r"([^@/]+)(?:@([^@/]+)|/(\d+))", reference)
    if not match:
        raise DcubeError(f"{reference!r} names no version: write MODEL@ALIAS or MODEL/VERSION, as dcube-scans@champion")
    model, alias, version = match.groups()
    return model, alias or version, alias is not None


def referenced(reference: str) -> "tuple[Registry, ModelVersion]":
    """The version that `MODEL@ALIAS` or `MODEL/VERSION` names."""
    model, which, is_alias = parse_reference(reference)
    registry = Registry.existing(model)
    if not is_alias:
        return registry, registry.version(which)
    version = registry.holder(which)
    if version is None:
        known = ", ".join(sorted(registry.aliases())) or "none"
        raise DcubeError(f"{model} has no alias {which!r}: it has {known}")
    return registry, version


def _named(version: "ModelVersion") -> str:
    return f"{version.version} ({version.tags.get(tags.MODEL, 'unknown')})"
