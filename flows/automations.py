"""What the Prefect server does about runs whose machine is lost.

A run that works sends a heartbeat. One that falls silent, or never begins, counts as crashed; a crashed run is
scheduled again, and whichever worker is free goes on with it. The run itself counts how often that happened.
"""

from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture

HEARTBEAT_SECONDS = 30  # the shortest that Prefect allows; `prefect.yaml` asks every run for it
SILENT_AFTER = timedelta(seconds=6 * HEARTBEAT_SECONDS)  # longer than the restart of a database takes
BEGUN_WITHIN = timedelta(minutes=10)  # a container's image may have to come first
CANCELLED_WITHIN = timedelta(minutes=2)
OURS = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.dcube"}


def automations(housekeeping: UUID) -> list[Automation]:
    """All automations, by name; `housekeeping` is the deployment that removes what such runs leave."""
    crashed = ChangeFlowRunState(state=StateType.CRASHED, message="Its machine fell silent")
    again = ChangeFlowRunState(state=StateType.SCHEDULED, name="Rescheduled", message="It was cut off: going on")
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
            name="dcube: a crashed run goes on",
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
    """Nothing is heard of a run for a while after the event."""
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
