"""Deployments, automations and the attempts of a run, on a real Prefect server."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed, Crashed, Failed, Running
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

from dcube.config.loading import load_preset, params_from, preset_names
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.repository.commands import commit_of, repository_lock
from dcube.repository.data_record import recorded_data
from flows import deployment_forms
from flows.attempts import crashes_in_a_row
from flows.checkout import is_clone_of_worker, working_directory
from flows.housekeeping import housekeeping
from flows.mlflow_runs import end_runs, mlflow_runs_ended, running_pipelines
from flows.pipeline import pipeline
from flows.prefect_api import fail_run, has_ended, has_stopped
from flows.retrain import known_data, retrain
from flows.worker import REPEATED, SUBMIT, SUBMIT_ONE, keep_worker_alive
from tests.support.checkout import ROOT
from tests.support.small_pipeline import command, head, rewrite, workspaces
from tests.support.waiting import wait_until

SEVERAL_PRESETS = sorted(preset_names())
OTHERS = ["predict", "evaluate", "promote", "retrain", "housekeeping"]


def deploy() -> str:
    """Run `python -m flows.deploy`, and return what it printed."""
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flows.deploy"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def deployed(prefect_server) -> str:
    return deploy()


class TestSetup:
    @pytest.mark.slow
    def test_deploy_creates_deployments_work_pool_and_automation(self, deployed):
        with get_client(sync_client=True) as client:
            names = [deployment.name for deployment in client.read_deployments()]
            assert sorted(names) == sorted([*SEVERAL_PRESETS, *OTHERS])
            assert client.read_work_pool("gpu").type == "process"
            nightly = client.read_deployment_by_name("housekeeping/housekeeping").schedules
        assert [schedule.active for schedule in nightly] == [True]
        assert asyncio.run(Automation.aread(name="dcube: a crashed run is scheduled again")).enabled

    @pytest.mark.slow
    def test_deploying_again_changes_nothing(self, deployed):
        with get_client(sync_client=True) as client:
            before = {deployment.name: deployment.id for deployment in client.read_deployments()}
            assert deploy() == deployed
            assert {deployment.name: deployment.id for deployment in client.read_deployments()} == before
        assert asyncio.run(Automation.aread(name="dcube: a crashed run is scheduled again")).enabled

    @pytest.mark.parametrize("name", SEVERAL_PRESETS)
    def test_every_preset_has_a_deployment_with_its_values(self, deployed, name):
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(f"pipeline/{name}")
        assert params_from(deployment.parameters["params"], "form") == load_preset(name)
        assert deployment.tags == ["dcube"]
        environment = deployment.job_variables["env"]
        assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30" and environment["DO_NOT_TRACK"] == "1"

    def test_form_describes_every_parameter(self, deployed):
        with get_client(sync_client=True) as client:
            schema = client.read_deployment_by_name("pipeline/phantom").parameter_openapi_schema
        assert all("description" in schema["properties"][name] for name in ("settings", "revision", "attempts"))
        assert schema["properties"]["attempts"]["minimum"] == 1
        groups = [Params.model_fields[name].annotation.__name__ for name in Params.model_fields]
        for group in groups:
            fields = schema["definitions"][group]["properties"].values()
            assert schema["definitions"][group]["description"]
            assert all(field.keys() & {"title", "$ref", "allOf"} and field.get("description") for field in fields)

    def test_missing_server_address_ends_in_one_line(self):
        environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {"PREFECT_API_URL": ""}
        done = subprocess.run(
            [sys.executable, "-m", "flows.deploy"], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.strip() == "error: no Prefect server: set PREFECT_API_URL, e.g. to http://127.0.0.1:4200/api"

    def test_prefect_yaml_offers_all_presets(self):
        deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
        asked = [one["parameters"]["params"] for one in deployed if "params" in one.get("parameters", {})]
        assert sorted(asked) == [f"{{{{ presets.{name} }}}}" for name in SEVERAL_PRESETS]
        assert deployment_forms.values().keys() == set(SEVERAL_PRESETS)


class TestAttempts:
    def test_failure_resets_the_count_of_consecutive_crashes(self):
        def at(minute: int, kind: StateType) -> State:
            return State(type=kind, timestamp=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute))

        kinds = [StateType.CRASHED, StateType.RUNNING, StateType.FAILED, StateType.RUNNING, StateType.CRASHED]
        states = [at(minute, kind) for minute, kind in enumerate(kinds)]
        assert crashes_in_a_row(states) == crashes_in_a_row(states[::-1]) == 1
        assert crashes_in_a_row(states[:2]) == 1
        assert crashes_in_a_row(states[:3]) == 0

    @pytest.mark.slow
    def test_interrupted_run_keeps_its_commit_until_attempts_run_out(self, repository, prefect_server, ran):
        """An interrupted run continues with the commit that it began with, for a limited number of attempts."""
        rewrite(repository, "stage.py", "import json,", "raise SystemExit('broken')\nimport json,")
        state = pipeline(Params(), return_state=True)
        first = head(repository)
        assert state.is_failed()
        rewrite(repository, "stage.py", "raise SystemExit('broken')\n", "")
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(state.state_details.flow_run_id)
            assert run.labels["dcube.commit"] == first != head(repository)
            for _ in range(2):
                client.set_flow_run_state(run.id, Crashed(), force=True)
        begun = subprocess.run(
            [sys.executable, "-c", AGAIN, str(run.id)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(PREFECT_API_URL.value())},
            capture_output=True,
            text=True,
        )
        commit, given_up = begun.stdout.splitlines()
        assert commit == first
        assert "given up: 2 attempts were interrupted from outside" in given_up


AGAIN = """
import os, sys
os.environ["PREFECT__FLOW_RUN_ID"] = sys.argv[1]
from pathlib import Path
from dcube.errors import DcubeError
from flows.attempts import begin_attempt
print(begin_attempt(Path.cwd(), "HEAD", most=3))
try:
    begin_attempt(Path.cwd(), "HEAD", most=2)
except DcubeError as error:
    print(error)
"""


class TestRunsThatCannotBegin:
    def test_unknown_parameter_fails_the_run_with_its_reason(self, deployed, repository, monkeypatch):
        reason = "the flow takes no colour: its parameters are keep_checkpoint_days, keep_days"
        assert refused(monkeypatch, repository, {"colour": "red"}) == reason

    @pytest.mark.slow
    def test_run_gives_up_after_ten_crashes_before_its_flow_begins(self, deployed, repository, monkeypatch):
        assert refused(monkeypatch, repository, {}, crashes=9) is None
        assert "given up: 10 attempts" in str(refused(monkeypatch, repository, {}, crashes=10))

    def test_worker_survives_a_run_whose_slot_it_still_holds(self, deployed, monkeypatch):
        for name in (SUBMIT, SUBMIT_ONE, *REPEATED):
            monkeypatch.setattr(BaseWorker, name, getattr(BaseWorker, name))  # restored after the test
        keep_worker_alive()

        async def offered_again() -> list[FlowRun]:
            async with ProcessWorker(work_pool_name="gpu", limit=1) as worker:
                run = FlowRun(flow_id=uuid4())
                worker.limiter.acquire_on_behalf_of_nowait(run.id)
                offer = WorkerFlowRunResponse(work_pool_id=uuid4(), work_queue_id=uuid4(), flow_run=run)
                return await getattr(worker, SUBMIT)(flow_run_response=[offer])

        assert asyncio.run(offered_again()) == []


def refused(
    monkeypatch: pytest.MonkeyPatch, repository: Path, parameters: dict[str, str], crashes: int = 0
) -> str | None:
    """The error of a housekeeping run's pull step after so many crashes; None if the run may begin."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("housekeeping/housekeeping")
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        for _ in range(crashes):
            client.set_flow_run_state(run.id, Crashed(), force=True)
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(run.id))
        monkeypatch.delenv("DCUBE_REPOSITORY", raising=False)
        try:
            assert working_directory(str(repository)) == {"directory": str(repository)}
        except DcubeError as error:
            state = client.read_flow_run(run.id).state
            assert state and state.is_failed() and state.message == str(error)
            client.set_flow_run_state(run.id, Crashed())  # as its worker reports when the process has ended
            assert client.read_flow_run(run.id).state.is_failed()
            return str(error)
    return None


PULL = "from flows.checkout import working_directory; working_directory()"


def is_free(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False


class TestCheckout:
    def test_local_checkout_is_used_unchanged(self, repository, monkeypatch):
        monkeypatch.delenv("DCUBE_REPOSITORY", raising=False)
        assert working_directory(str(repository)) == {"directory": str(repository)}

    def test_remote_repository_is_cloned_once_and_then_updated(self, repository, tmp_path, monkeypatch):
        monkeypatch.setenv("DCUBE_REPOSITORY", repository.as_uri())
        monkeypatch.setenv("DCUBE_HOME", str(tmp_path / "home"))
        clone = Path(working_directory("ignored")["directory"])
        assert clone.parent == tmp_path / "home" and head(clone) == head(repository)
        (clone / ".dcube").mkdir()
        rewrite(repository, "stage.py", "import json,", "import json, re,")
        assert working_directory()["directory"] == str(clone)
        assert head(clone) == head(repository) and (clone / ".dcube").exists()

    def test_clone_is_reused_when_only_the_password_changes(self, repository, tmp_path, monkeypatch):
        def clone_of(address: str) -> Path:
            monkeypatch.setenv("DCUBE_REPOSITORY", address)
            return Path(working_directory()["directory"])

        other = tmp_path / "other/repository"
        shutil.copytree(repository, other)
        rewrite(other, "stage.py", "import json,", "import json, re,")
        old, new = (f"https://ada:{password}@example.org/repository" for password in ("old", "new"))
        settings = "".join(f'[url "{repository.as_uri()}"]\ninsteadOf = {address}\n' for address in (old, new))
        (tmp_path / "gitconfig").write_text(settings)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
        monkeypatch.setenv("DCUBE_HOME", str(tmp_path / "home"))
        clone = clone_of(old)
        assert clone_of(new) == clone and head(clone) == head(repository)
        assert command(clone, "git", "config", "remote.origin.url").strip() == new
        assert head(clone_of(other.as_uri())) == head(other) != head(repository)

    def test_clone_follows_branches_tags_and_a_detached_commit(self, repository, tmp_path, monkeypatch):
        """The commit that is checked out is used, and every branch and tag can be named."""
        monkeypatch.setenv("DCUBE_REPOSITORY", repository.as_uri())
        monkeypatch.setenv("DCUBE_HOME", str(tmp_path / "home"))
        main = command(repository, "git", "branch", "--show-current").strip()
        clone = Path(working_directory()["directory"])
        old = head(repository)
        command(repository, "git", "switch", "--quiet", "--create", "feature")
        rewrite(repository, "stage.py", "import json,", "import json, re,")
        working_directory()
        assert head(clone) == commit_of(clone, "feature") == head(repository) and commit_of(clone, main) == old
        command(repository, "git", "switch", "--quiet", "--detach", main)
        command(repository, "git", "branch", "--quiet", "--force", "feature", main)
        command(repository, "git", "tag", "paper")
        rewrite(repository, "stage.py", "import json,", "import csv, json,")
        working_directory()
        assert head(clone) == head(repository) and "import csv" in (clone / "stage.py").read_text()
        assert commit_of(clone, "feature") == commit_of(clone, "paper") == old

    def test_clone_is_not_updated_while_another_worker_changes_its_workspaces(self, repository, tmp_path, monkeypatch):
        """git would find half-written files of a worktree ("bad object worktrees/.../HEAD")."""
        monkeypatch.setenv("DCUBE_REPOSITORY", repository.as_uri())
        monkeypatch.setenv("DCUBE_HOME", str(tmp_path / "home"))
        clone = Path(working_directory()["directory"])
        rewrite(repository, "stage.py", "import json,", "import csv, json,")
        with repository_lock(clone):
            pull = subprocess.Popen([sys.executable, "-c", PULL], env=os.environ | {"PYTHONPATH": str(ROOT)})
            wait_until(lambda: not is_free(FileLock(f"{clone}.lock")))
            time.sleep(2)
            assert pull.poll() is None and head(clone) != head(repository)
        assert pull.wait(timeout=60) == 0 and head(clone) == head(repository)

    def test_only_clones_of_workers_are_nobodys_working_copy(self, repository, tmp_path, monkeypatch):
        monkeypatch.setenv("DCUBE_REPOSITORY", repository.as_uri())
        monkeypatch.setenv("DCUBE_HOME", str(tmp_path / "home"))
        assert is_clone_of_worker(Path(working_directory()["directory"]))
        assert not is_clone_of_worker(repository)

    @pytest.mark.parametrize("detached", [False, True])
    def test_first_clone_has_the_checked_out_commit(self, detached, repository, tmp_path, monkeypatch):
        monkeypatch.setenv("DCUBE_REPOSITORY", repository.as_uri())
        monkeypatch.setenv("DCUBE_HOME", str(tmp_path / "home"))
        command(repository, "git", "switch", "--quiet", *(["--detach"] if detached else ["--create", "feature"]))
        rewrite(repository, "stage.py", "import json,", "import csv, json,")
        assert head(Path(working_directory()["directory"])) == head(repository)

    @pytest.mark.parametrize(
        "address",
        ["--upload-pack=touch pwned", "ext::sh -c touch% pwned", "http://a:secret@127.0.0.1:1/a", "/nowhere", ""],
    )
    def test_invalid_repository_address_ends_in_one_line(self, address, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DCUBE_REPOSITORY", address)
        monkeypatch.setenv("DCUBE_HOME", str(tmp_path / "home"))
        with pytest.raises(DcubeError) as caught:
            working_directory()
        assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
        assert not list(tmp_path.rglob("pwned"))


class TestLeftovers:
    @pytest.mark.parametrize(
        ("state", "stopped", "ended"),
        [(Running(), False, False), (Completed(), True, True), (Failed(), True, True), (Crashed(), True, False)],
    )
    def test_crashed_run_has_stopped_but_not_ended(self, state, stopped, ended):
        run = FlowRun(flow_id=uuid4(), state=state)
        assert (has_stopped(run), has_ended(run)) == (stopped, ended)

    @pytest.mark.slow
    def test_housekeeping_ends_mlflow_runs_of_ended_flow_runs(self, repository, prefect_server, tracking_address):
        """An MLflow run whose flow run has ended is ended too; a run of a pipeline outside Prefect is left alone."""
        rewrite(repository, "stage.py", "import json,", "raise SystemExit('broken')\nimport json,")
        failed = str(pipeline(Params(), return_state=True).state_details.flow_run_id)
        client = MlflowClient()
        experiment = client.create_experiment("dcube")
        runs = {
            name: client.create_run(experiment, tags={"dcube.pipeline": name}).info.run_id
            for name in (failed, str(uuid4()), "by-hand")
        }
        assert running_pipelines() == runs.keys()
        assert [folder.name for folder in workspaces(repository)] == [failed]
        housekeeping(keep_days=1)
        assert [folder.name for folder in workspaces(repository)] == [failed]
        assert {name: client.get_run(run).info.status for name, run in runs.items()} == {
            name: "KILLED" if name == failed else "RUNNING" for name in runs
        }
        housekeeping(keep_days=0)
        assert workspaces(repository) == []
        end_runs("by-hand")
        assert "by-hand" not in running_pipelines()

    def test_housekeeping_removes_the_workspace_of_a_cancelled_run_at_once(
        self, repository, prefect_server, tracking_address
    ):
        """Its machine was lost, or killed it before it could remove the workspace itself."""
        runs = {}
        with get_client(sync_client=True) as client:
            for state in (Cancelled(), Failed()):
                runs[state.name] = str(client.create_flow_run(housekeeping, state=state).id)
                (repository / ".dcube/workspaces" / runs[state.name]).mkdir(parents=True)
        housekeeping()
        assert [folder.name for folder in workspaces(repository)] == [runs["Failed"]]

    def test_housekeeping_removes_old_checkpoints(self, repository, prefect_server, tracking_address):
        checkpoints = repository / ".dcube/checkpoints"
        for name, days in (("running", 0), ("last-week", 8), ("forgotten", 31)):
            (checkpoints / name).mkdir(parents=True)
            (checkpoints / name / "step-000000001.safetensors").touch()
            os.utime(checkpoints / name, (time.time() - days * 86_400,) * 2)
        housekeeping()
        assert {folder.name for folder in checkpoints.iterdir()} == {"running", "last-week"}
        housekeeping(keep_checkpoint_days=7)
        assert [folder.name for folder in checkpoints.iterdir()] == ["running"]

    @pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
    def test_mlflow_parent_run_ends_with_the_state_of_the_pipeline(self, error, status, tracking_address):
        """It fails with the pipeline even if every stage that began has succeeded."""
        client = MlflowClient()
        tags = {"dcube.pipeline": "one", "dcube.stage": "pipeline"}
        parent = client.create_run(client.create_experiment("dcube"), tags=tags).info.run_id
        client.set_terminated(parent, "FINISHED")
        with mlflow_runs_ended("one", tracking_address):
            pass
        assert client.get_run(parent).info.status == "FINISHED"
        with pytest.raises(error), mlflow_runs_ended("one", tracking_address):
            raise error
        assert client.get_run(parent).info.status == status


class TestRetrain:
    def test_retrain_starts_a_new_run_only_after_the_last_one_failed(self, deployed, repository, tracking_address):
        def started() -> FlowRun:
            state = retrain("pipeline/phantom", return_state=True)
            (run,) = [run for run in runs() if run.name in state.message]
            return run

        def runs() -> list[FlowRun]:
            with get_client(sync_client=True) as client:
                return client.read_flow_runs(flow_run_filter=FlowRunFilter(tags={"all_": ["retrain"]}))

        nights = []
        for failed in (False, True, False):
            nights.append(started().id)
            if failed:
                fail_run(nights[-1], "broken")
        assert nights[0] == nights[1] and len({*nights}) == len(runs()) == 2
        fail_run(nights[-1], "no worker shall begin it")

    def test_model_lists_its_training_data(self, repository, tracking_address, tmp_path):
        data = recorded_data(repository, "HEAD")
        assert data == yaml.safe_load((repository / "data.dvc").read_text())["outs"][0]["md5"]
        assert known_data("dcube-phantom") == set()
        client = MlflowClient()
        client.create_registered_model("dcube-phantom")
        client.create_model_version("dcube-phantom", str(tmp_path), tags={"dcube.dvc.data": data})
        assert known_data("dcube-phantom") == {data}
        command(repository, "git", "rm", "--quiet", "data.dvc")
        command(repository, "git", "commit", "--quiet", "--message", "No data")
        with pytest.raises(DcubeError, match=r"records no data: .dcube data add"):
            recorded_data(repository, "HEAD")
