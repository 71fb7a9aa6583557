"""Appointment of a champion: the first version, a promoted challenger, or an earlier champion by a rollback.

Every move of the alias is recorded as an event on its version, so that the registry itself has the champions' history.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tenacity import wait_random

from dcube.errors import DcubeError
from dcube.evaluation.predictions import on_common_images
from dcube.registry.champions import FIRST, PROMOTED, ROLLED_BACK, Event, champion_before
from dcube.registry.eligibility import refuse_control, refuse_missing_champion, refuse_other_test, tested_elsewhere
from dcube.registry.promotion_policy import IS_CHAMPION, NO_CHAMPION, PromotionPolicy, PromotionRecord, Verdict, judge
from dcube.registry.version import Version
from dcube.registry.versions import CHALLENGER, CHAMPION, RegisteredModel
from dcube.runtime import retries
from dcube.tracking import tags

RANDOM_PAUSE = wait_random(0.1, 1)  # seconds; with equal pauses two pipelines would collide again and again


class ChampionChangedError(DcubeError):
    """Another process moved the alias meanwhile, or is about to."""


@dataclass(frozen=True)
class Proposal:
    """Challenger, champion, and the result of their comparison.

    Attributes:
        number: number of the promotion's event, by the history at the time of the comparison.
    """

    challenger: Version
    champion: Version | None
    policy: PromotionPolicy
    verdict: Verdict
    number: int

    @property
    def title(self) -> str:
        against = f"champion {_named(self.champion)}" if self.champion else "no champion"
        return f"{self.challenger.name}: challenger {_named(self.challenger)} against {against}"


def propose(registered_model: RegisteredModel, policy: PromotionPolicy) -> Proposal:
    """Compare challenger and champion.

    Raises:
        DcubeError: if there is no challenger, if it is a control, if the history has a champion but the alias is gone,
            if the two were tested on different images, or if a version differs from what was registered.
    """
    events = registered_model.history()  # before the alias: a later move then leaves an event that is not in this list
    challenger, champion = registered_model.holder(CHALLENGER), registered_model.holder(CHAMPION)
    if challenger is None:
        raise DcubeError(
            f"{registered_model.name} has no challenger: run `dvc repro --force --single-item register`, "
            "which names one"
        )
    if champion is None:
        refuse_missing_champion(registered_model.name, events)
        _refuse_unfit(registered_model, challenger)
        verdict = NO_CHAMPION
    elif champion.version == challenger.version:
        verdict = IS_CHAMPION
    else:
        refuse_other_test(champion, challenger)
        refuse_control(challenger)
        verdict = _judged(registered_model, champion, challenger, policy)
    return Proposal(challenger, champion, policy, verdict, _next_number(events))


def _judged(
    registered_model: RegisteredModel, champion: Version, challenger: Version, policy: PromotionPolicy
) -> Verdict:
    """Compare on the images that both tests have: all of them, unless one version alone is an ensemble of folds."""
    held, new = registered_model.predictions(champion), registered_model.predictions(challenger)
    if held.fingerprint == new.fingerprint:
        return judge(held, new, policy)
    held, new = on_common_images(held, new)
    if not len(held.table):
        raise DcubeError(
            f"champion (version {champion.version}) and challenger (version {challenger.version}) have no test image "
            f"in common: appoint with `dcube rollback {champion.name} --to {challenger.version} --reason …`"
        )
    verdict = judge(held, new, policy)
    return replace(verdict, reason=f"{verdict.reason} (on the {len(held.table)} test images that both have)")


def promote(registered_model: RegisteredModel, proposal: Proposal, who: str, why: str = "") -> Event:
    """Make the challenger champion. The recorded reason is `why`, followed by the verdict's own reason.

    Raises:
        DcubeError: if the verdict is negative, or if an alias moved since the comparison.
    """
    if not proposal.verdict.promoted:
        raise DcubeError(f"version {proposal.challenger.version} is not promoted: {proposal.verdict.reason}")
    if registered_model.aliases().get(CHALLENGER) != proposal.challenger.version:
        raise DcubeError(f"the challenger of {registered_model.name} has changed: compare again")
    return _appoint(
        registered_model,
        Event.new(
            proposal.challenger.version,
            PROMOTED if proposal.champion else FIRST,
            who,
            ": ".join(filter(None, (why, proposal.verdict.reason))),
            replaced=proposal.champion.version if proposal.champion else None,
            number=proposal.number,
        ),
        PromotionRecord(policy=proposal.policy, criteria=proposal.verdict.criteria),
    )


def appoint_first(registered_model: RegisteredModel, version: Version, who: str) -> None:
    """Make a version the first champion, unless another pipeline does so at the same moment.

    If there was a champion whose version was deleted, do nothing: a person must decide which version follows it.
    """

    def attempt() -> None:
        if not registered_model.history():
            _appoint(registered_model, Event.new(version.version, FIRST, who, NO_CHAMPION.reason))

    with suppress(ChampionChangedError):
        retries.AFTER_COLLISION.retrying(ChampionChangedError, wait=RANDOM_PAUSE)(attempt)


def rollback(registered_model: RegisteredModel, who: str, why: str, to: str | None = None) -> Event:
    """Make the previous champion, or the version `to`, champion again without a comparison.

    This also works if the present champion's version was deleted.

    Raises:
        DcubeError: if no reason is given, if there is no earlier champion, if the version is the champion already or
            a control, or if it differs from what was registered.
    """
    if not why.strip():
        raise DcubeError("a rollback needs a reason: say why with --reason")
    events, current = registered_model.history(), registered_model.aliases().get(CHAMPION)
    if current is None and not events:
        raise DcubeError(f"{registered_model.name} has no champion: nothing can be rolled back")
    target = registered_model.version(to or _champion_before(registered_model, events, current))
    if events and target.version == current == events[-1].version:  # else it was moved by hand, and is appointed now
        raise DcubeError(f"version {target.version} of {registered_model.name} is the champion already")
    _refuse_unfit(registered_model, target)
    if current and tested_elsewhere(target, registered_model.version(current)):
        why = f"{why} (tested on other images than version {current})"
    number = _next_number(events)
    return _appoint(registered_model, Event.new(target.version, ROLLED_BACK, who, why, replaced=current, number=number))


def _champion_before(registered_model: RegisteredModel, events: Sequence[Event], current: str | None) -> str:
    there = {version.version for version in registered_model.versions()}
    before = champion_before([event for event in events if event.version in there], current)
    if before is None:
        raise DcubeError(f"{registered_model.name} had no champion before this one: name a version with --to")
    return before


def _next_number(events: Sequence[Event]) -> int:
    return events[-1].number + 1 if events else 0


def _appoint(registered_model: RegisteredModel, event: Event, record: PromotionRecord | None = None) -> Event:
    """Write the event, then move the alias, because an alias that moved without a record is worse than the reverse.

    Concurrent processes each read the history after they have written their own event. At least the last one then sees
    an event that it did not know, and withdraws its own. So at most one process goes on, and possibly none.
    """
    _refuse_moved(registered_model, event)
    try:
        _leave(registered_model, event)
        if any(it.number >= event.number and it.key != event.key for it in registered_model.history()):
            raise _changed(registered_model)
        _refuse_moved(registered_model, event)
    except BaseException:
        _withdraw(registered_model, event)
        raise
    try:
        if record:
            text, file = record.model_dump_json(indent=2), f"{event.key.removeprefix(tags.MLFLOW)}.json"
            registered_model.client.log_text(registered_model.version(event.version).run_id, text, file)
        registered_model.set_alias(CHAMPION, event.version)
    except BaseException:
        if registered_model.aliases().get(CHAMPION) != event.version:  # it may have moved though no response came
            _withdraw(registered_model, event)
        raise
    return event


def _leave(registered_model: RegisteredModel, event: Event) -> None:
    registered_model.client.set_model_version_tag(registered_model.name, event.version, event.key, event.text)
    registered_model.client.set_registered_model_tag(registered_model.name, event.key, event.text)


def _withdraw(registered_model: RegisteredModel, event: Event) -> None:
    registered_model.client.delete_model_version_tag(registered_model.name, event.version, event.key)
    registered_model.client.delete_registered_model_tag(registered_model.name, event.key)


def _refuse_moved(registered_model: RegisteredModel, event: Event) -> None:
    if registered_model.aliases().get(CHAMPION) != event.replaced:
        raise _changed(registered_model)


def _changed(registered_model: RegisteredModel) -> ChampionChangedError:
    return ChampionChangedError(f"the champion of {registered_model.name} has changed: compare again")


def _refuse_unfit(registered_model: RegisteredModel, version: Version) -> None:
    """Raise `DcubeError` if the version is a control or differs from what was registered."""
    refuse_control(version)
    registered_model.predictions(version)


def _named(version: Version) -> str:
    return f"{version.version} ({version.tags.get(tags.MODEL, 'unknown')})"
