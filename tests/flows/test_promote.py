"""The flow `promote` on a real Prefect server: approval, refusal, a killed worker, and no answer in time."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.exceptions import FlowPauseTimeout, NotPausedError
from prefect.flow_runs import resume_flow_run
from prefect.utilities.callables import parameter_schema

from dcube.registry.promotion_policy import PromotionPolicy
from dcube.registry.versions import CHAMPION, RegisteredModel
from dcube.runtime.processes import process_group
from flows.promote import Approval, promote
from tests.support.checkout import ROOT
from tests.support.evaluated_candidates import NAME, run_pipeline

POLICY = PromotionPolicy(bootstrap_samples=200)
SERVE = """
from flows.promote import promote

if __name__ == "__main__":
    promote.serve(name="test", pause_on_shutdown=False)
"""


@pytest.fixture
def registered_model(working_copy, tiny_params) -> RegisteredModel:
    run_pipeline(tiny_params, 0, 20)
    return run_pipeline(tiny_params, 1, 27)


@pytest.mark.slow
def test_promotion_without_approval_follows_the_criteria_and_shows_them(prefect_server, registered_model):
    refused = promote(NAME, POLICY.model_copy(update={"minimum_improvement": 0.5}), approval=False, return_state=True)
    assert refused.name == "Not promoted" and "required: lower bound above +0.500" in refused.message
    assert registered_model.aliases()[CHAMPION] == "1"

    done = promote(NAME, POLICY, approval=False, return_state=True)
    assert done.name == "Promoted" and registered_model.aliases()[CHAMPION] == "2"
    assert registered_model.history()[-1].who.startswith("flow run ")
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(key={"any_": [f"promotion-{NAME}"]}))
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(id={"any_": [done.state_details.flow_run_id]}))
    assert any("| sensitivity, normal |" in artifact.data for artifact in artifacts) and len(runs) == 1


def test_form_shows_the_promotion_policy():
    schema = parameter_schema(promote)
    policy = schema.model_dump()["definitions"]["PromotionPolicy"]["properties"]
    assert policy["confidence"]["minimum"] == 0.8 and policy["calibration_loss"]["title"]
    assert set(schema.properties) == {"model", "policy", "approval", "hours_to_answer"}
    assert set(Approval.model_json_schema()["properties"]) == {"promote", "name", "reason"}


class Deployed:
    """The flow as a deployment, its runs executed by a served process that can be killed."""

    def __init__(self, folder: Path) -> None:
        script = folder / "serve.py"
        script.write_text(SERVE)
        path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        from prefect.settings import PREFECT_API_URL

        self.command = [sys.executable, str(script)]
        self.environment = os.environ | {"PYTHONPATH": path, "PREFECT_API_URL": PREFECT_API_URL.value()}
        self.environment["PREFECT_RUNNER_POLL_FREQUENCY"] = "1"

    def worker(self):
        return process_group(self.command, env=self.environment)

    def start(self, **parameters):
        with get_client(sync_client=True) as client:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    deployment = client.read_deployment_by_name("promote/test")
                    break
                except Exception:
                    time.sleep(0.5)
            values = {"model": NAME, "policy": POLICY.model_dump(), **parameters}
            return client.create_flow_run_from_deployment(deployment.id, parameters=values).id


def wait_for(run_id, *names: str):
    """Wait until the run's state has one of these names, and return it."""
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            state = client.read_flow_run(run_id).state
            if state.name in names:
                return state
            assert not state.is_final(), state
            time.sleep(0.3)
    raise AssertionError(f"still {state.name}: {state.message}")


@pytest.mark.slow
def test_approval_can_be_given_after_the_worker_was_killed(prefect_server, registered_model, tmp_path):
    deployed = Deployed(tmp_path)
    with deployed.worker() as worker:
        run_id = deployed.start()
        wait_for(run_id, "Suspended")
        time.sleep(3)  # until its process has saved the form and ended
        os.killpg(worker.pid, signal.SIGKILL)
    assert registered_model.aliases()[CHAMPION] == "1"
    resume_flow_run(run_id, run_input={"promote": True, "name": "Ada L.", "reason": "agreed on Monday"})
    with deployed.worker():
        done = wait_for(run_id, "Promoted")
        assert "agreed on Monday: macro F1" in done.message
        event = registered_model.history()[-1]
        assert (event.who, event.version, event.replaced) == ("Ada L.", "2", "1")


@pytest.mark.slow
def test_refusal_and_late_approval_keep_the_champion(prefect_server, registered_model, tmp_path):
    deployed = Deployed(tmp_path)
    with deployed.worker():
        run_id, late = deployed.start(), deployed.start(hours_to_answer=0.002)
        wait_for(run_id, "Suspended")
        resume_flow_run(run_id, run_input={"promote": False, "name": "Grace", "reason": "wait for site B"})
        assert "Grace said no: wait for site B" in wait_for(run_id, "Not promoted").message
        wait_for(late, "Suspended", "Failed")
        time.sleep(8)  # longer than the run waits for an answer
    with pytest.raises((FlowPauseTimeout, NotPausedError)):  # a server may have ended the run by itself
        resume_flow_run(late, run_input={"promote": True, "name": "Ada L."})
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(late).state
    assert state.is_failed() and "never resumed" in state.message
    assert registered_model.aliases()[CHAMPION] == "1"
