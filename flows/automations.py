"""Automations of the Prefect server for runs whose machine is lost.

A working run sends heartbeats. A run without heartbeats, or one that never begins, is marked as crashed. A crashed run
is scheduled again, and the next free worker continues it. The run itself counts its crashes.
"""

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
OURS = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.dcube"}


def automations(housekeeping: UUID) -> list[Automation]:
    """Return all automations; `housekeeping` is the id of the deployment that removes the remains of such runs."""
    crashed = ChangeFlowRunState(state=StateType.CRASHED, message="Its machine sends no events")
    again = ChangeFlowRunState(
        state=StateType.SCHEDULED, name="Rescheduled", message="It crashed: the next free worker continues it"
    )
    cancelled = ChangeFlowRunState(state=StateType.CANCELLED, message="Its machine was gone", force=True)
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
            trigger=EventTrigger(
                expect={"prefect.flow-run.Crashed"},
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=OURS,
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[again],
        ),
        Automation(
            name="dcube: a cancelled run ends without its machine",
            trigger=_missing("Cancelling", within=CANCELLED_WITHIN),
            actions=[cancelled, RunDeployment(source="selected", deployment_id=housekeeping)],
        ),
    ]


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
