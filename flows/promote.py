"""Flow that compares challenger and champion, shows the comparison, and promotes, if wanted after an approval."""

from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.runtime import deployment
from prefect.states import Completed, State
from pydantic import Field

from dcube.registry import promotion
from dcube.registry.promotion import Proposal
from dcube.registry.promotion_policy import PromotionPolicy
from dcube.registry.versions import RegisteredModel
from dcube.tracking.mlflow_client import mlflow_errors_in_one_line
from flows.prefect_api import log_errors_in_one_line, run_of, this_run
from flows.reporting import slug
from flows.results_page import proposal_text

POLL_SECONDS = 5


class Approval(RunInput):
    """Form for a person's decision."""

    promote: bool = Field(False, title="Make it champion", description="If not checked, the champion stays.")
    name: str = Field(min_length=1, max_length=200, title="Your name", description="Recorded in the history.")
    reason: str = Field("", max_length=2000, title="Reason", description="Why, or why not. Recorded in the history.")


@flow(name="promote", description="Compare the challenger with the champion, and promote it if it meets the policy.")
def promote(
    model: Annotated[str, Field(min_length=1)],
    policy: PromotionPolicy = PromotionPolicy(),  # noqa: B008, frozen
    approval: bool = True,
    hours_to_answer: Annotated[float, Field(gt=0, le=720)] = 72,
) -> State[Any]:
    """Move the alias `champion` to the challenger if every criterion of the policy is met.

    Args:
        model: name of the registered model in MLflow, dcube-phantom for example.
        policy: requirements for the challenger.
        approval: whether a person must approve first. A deployed run is suspended meanwhile: it occupies no worker,
            does not depend on one, and compares again when it continues.
        hours_to_answer: hours to wait for an answer; then the run fails, and the champion stays.
    """
    log_errors_in_one_line()
    with mlflow_errors_in_one_line():
        registered_model = RegisteredModel.existing(model)
        proposal = promotion.propose(registered_model, policy)
        text = proposal_text(proposal)
        create_markdown_artifact(text, key=f"promotion-{slug(model)}", description=proposal.title)
        if not proposal.verdict.promoted:
            return _stays(proposal.verdict.reason)
        who, why = creator(), ""
        if approval:
            approved = request_approval(proposal, text, int(hours_to_answer * 3600))
            if not approved.promote:
                return _stays(f"{approved.name} said no{approved.reason and f': {approved.reason}'}")
            who, why = approved.name, approved.reason
        event = promotion.promote(registered_model, proposal, who, why)
    message = f"Version {event.version} is the champion of {model} now: {event.why}"
    get_run_logger().info(message)
    return Completed(name="Promoted", message=message)


def request_approval(proposal: Proposal, text: str, timeout: int) -> Approval:
    """Wait for a person's decision on this comparison. Each pair of versions is a separate request."""
    form = Approval.with_initial_data(description=text)
    champion = proposal.champion.version if proposal.champion else "none"
    key = f"{proposal.challenger.version}-against-{champion}"
    if deployment.id:
        return suspend_flow_run(wait_for_input=form, timeout=timeout, key=key)
    return pause_flow_run(wait_for_input=form, timeout=timeout, key=key, poll_interval=POLL_SECONDS)


def creator() -> str:
    """Return who started the run, or the name of the run if the server does not know that."""
    run = run_of(this_run())
    assert run
    by = run.created_by.display_value if run.created_by else None
    return by or f"flow run {run.name}"


def _stays(reason: str) -> State[Any]:
    get_run_logger().info("The champion stays: %s", reason)
    return Completed(name="Not promoted", message=f"The champion stays: {reason}")
