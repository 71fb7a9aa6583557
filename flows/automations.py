"""Automations of the Prefect server for runs whose machine is lost, and for runs that somebody suspends.

A working run sends heartbeats. A run without heartbeats, or one that never begins, is marked as crashed. A crashed run
is scheduled again, and the next free worker continues it. The run itself counts its crashes.

Prefect lets the task of a suspended run go on until its end, which may be days of training, while the UI shows that the
run does nothing. Such a run is cancelled instead, unless it waits for an approval. This takes two steps: of a run whose
state is suspended, Prefect believes that it has no process to end.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture

HEARTBEAT_SECONDS = 30  # the shortest that Prefect allows; `prefect.yaml` sets it for every run
SILENT_AFTER = timedelta(seconds=6 * HEARTBEAT_SECONDS)  # longer than the restart of a database takes
BEGUN_WITHIN = timedelta(minutes=10)  # a worker may first have to pull a container image
CANCELLED_WITHIN = timedelta(minutes=2)
SUSPENDED = "Stopping"  # name of the state between suspended and cancelling
NOT_PROMOTE = {"prefect.resource.role": "flow", "prefect.resource.name": "!promote"}  # `promote` suspends itself
OURS = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.dcube"}


def automations(housekeeping: UUID) -> list[Automation]:
    """Return all automations; `housekeeping` is the id of the deployment that removes the remains of such runs."""
    crashed = ChangeFlowRunState(state=StateType.CRASHED, message="Its machine sends no events")
    again = ChangeFlowRunState(
        state=StateType.SCHEDULED, name="Rescheduled", message="It crashed: the next free worker continues it"
    )
    cancelled = ChangeFlowRunState(state=StateType.CANCELLED, message="Its machine was gone", force=True)
    working = ChangeFlowRunState(
        state=StateType.RUNNING, name=SUSPENDED, message="Its training would go on: it is cancelled", force=True
    )
    stopped = ChangeFlowRunState(
        state=StateType.CANCELLING, message="It was suspended: a retry continues from its last checkpoint"
    )
    return [
        Automation(
            name="dcube: a silent run has crashed",
            trigger=_missing("heartbeat", within=SILENT_AFTER),
            actions=[crashed],
        ),
        Automation(
            name="dcube: a run that does not begin has crashed",
            trigger=_missing("Pending", within=BEGUN_WITHIN),
            actions=[crashed],
        ),
        Automation(
            name="dcube: a crashed run is scheduled again",
            trigger=_immediately("Crashed"),
            actions=[again],
        ),
        Automation(
            name="dcube: a suspended run is working",
            trigger=_immediately("Suspended", "Paused", related=[OURS, NOT_PROMOTE]),
            actions=[working],
        ),
        Automation(
            name="dcube: a suspended run is cancelled",
            trigger=_immediately(SUSPENDED),
            actions=[stopped],
        ),
        Automation(
            name="dcube: a cancelled run ends without its machine",
            trigger=_missing("Cancelling", within=CANCELLED_WITHIN),
            actions=[cancelled, RunDeployment(source="selected", deployment_id=housekeeping)],
        ),
    ]


def _immediately(*events: str, related: Sequence[dict[str, str]] = (OURS,)) -> EventTrigger:
    """Return a trigger for each run that sends one of these events."""
    return EventTrigger(
        expect={f"prefect.flow-run.{event}" for event in events},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=list(related),
        posture=Posture.Reactive,
        threshold=1,
    )


def _missing(event: str, within: timedelta) -> EventTrigger:
    """Return a trigger for runs that send no further event for some time after `event`."""
    return EventTrigger(
        after={f"prefect.flow-run.{event}"},
        expect={"prefect.flow-run.*"},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=OURS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )
