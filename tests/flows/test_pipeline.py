"""The pipeline as a Prefect flow, on a small repository and against a server of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from uuid import UUID

import psutil
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed, Scheduled
from prefect.utilities.callables import parameter_schema

import flows.pipeline
from dcube.config.loading import load_preset
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.repository.commands import commit_of
from dcube.repository.data_remote import push_results
from dcube.repository.experiments import save_experiment
from dcube.repository.graph import StageNeeds, stages_in_order
from dcube.repository.repro import repro
from dcube.repository.workspace import workspace
from dcube.runtime import processes
from flows.pipeline import main, pipeline, refuse_incomplete, with_settings
from flows.run_data import restore_or_add
from tests.support.checkout import ROOT
from tests.support.flow_runs import STAGES, run_of, task_runs, task_states
from tests.support.small_pipeline import HANG, assert_gone, checkout_of, command, dvc, rewrite, workspaces
from tests.support.waiting import wait_until

PARAMS = Params().to_yaml()


class TestGraph:
    def test_stage_order_names_and_needs_are_read_from_dvc_yaml(self, repository):
        stages = {stage.name: stage for stage in stages_in_order(repository)}
        assert list(stages) == STAGES
        assert stages["train"] == StageNeeds("train", "Train a model", gpu=True)
        assert stages["evaluate@control"] == StageNeeds("evaluate@control", "Measure a model", True, 1, 5)
        assert [stage.name for stage in stages_in_order(repository, ["train"])] == ["prepare", "train"]
        assert [stage.name for stage in stages_in_order(repository, ["evaluate"])] == STAGES

    def test_unknown_target_and_unknown_meta_key_are_refused(self, repository):
        with pytest.raises(DcubeError, match="nothing"):
            stages_in_order(repository, ["nothing"])
        rewrite(repository, "dvc.yaml", "gpu: true}", "gpus: 2}")
        with pytest.raises(DcubeError, match="meta of train may hold gpu, retries, timeout_minutes; found gpus"):
            stages_in_order(repository)

    def test_stages_of_the_real_dvc_yaml_are_valid(self):
        """`meta` has only keys that the flow knows, and no command contains a parameter: values come from a form."""
        for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
            StageNeeds("name", stage["desc"], **stage["meta"])
            assert "$" not in stage["cmd"].replace("${item.", "")


ENTER = """
from pathlib import Path
from dcube.config.schema import Params
from dcube.repository.workspace import workspace, workspace_lock
with workspace_lock(Path.cwd(), "run", lambda line: print(line, flush=True)):
    with workspace(Path.cwd(), "HEAD", "run", Params().to_yaml()) as folder:
        print("entered", folder)
"""


class TestWorkspace:
    def test_workspace_is_kept_after_a_failure_and_removed_after_a_success(self, repository):
        before = checkout_of(repository)
        with pytest.raises(ZeroDivisionError), workspace(repository, "HEAD", "run", PARAMS) as folder:
            (folder / "half-done").touch()
            raise ZeroDivisionError
        with workspace(repository, "HEAD", "run", PARAMS) as again:
            assert again == folder
            assert (again / "half-done").exists()
            assert (again / "data/raw.txt").read_text() == "raw "
        assert workspaces(repository) == []
        assert "run" not in command(repository, "git", "worktree", "list")
        assert checkout_of(repository) == before

    def test_second_process_waits_until_the_workspace_is_free(self, repository, tmp_path):
        """It would take the locks of the first one's DVC for those of a killed one."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with workspace(repository, "HEAD", "run", PARAMS) as folder:
            locks = folder / ".dvc/tmp/rwlock"
            locks.parent.mkdir(exist_ok=True)
            locks.write_text('{"data": {"write": {"pid": 1, "cmd": "dvc repro"}}}')
            second = subprocess.Popen([sys.executable, "-c", ENTER], env=environment, stdout=subprocess.PIPE, text=True)
            assert "waiting until another process" in second.stdout.readline()
            assert locks.exists() and second.poll() is None
        assert second.communicate(timeout=60)[0] == f"entered {folder}\n" and second.returncode == 0
        assert list(folder.parent.iterdir()) == []

    def test_incomplete_workspace_is_created_again(self, repository):
        leftover = repository / ".dcube/workspaces/run/.dvc"
        leftover.mkdir(parents=True)
        with workspace(repository, "HEAD", "run", PARAMS) as folder:
            assert (folder / "dvc.yaml").exists()

    def test_checkpoints_and_outbox_outlive_the_workspace(self, repository, tmp_path, monkeypatch):
        monkeypatch.setenv("DCUBE_WORKSPACES", str(tmp_path / "elsewhere"))
        with workspace(repository, "HEAD", "run", PARAMS) as folder:
            assert folder.parent == tmp_path / "elsewhere"
            for name in ("checkpoints", "unsent"):
                (folder / ".dcube" / name / "kept").touch()
            assert command(folder, "git", "status", "--porcelain") == ""
        assert (repository / ".dcube/checkpoints/kept").exists()
        assert (repository / ".dcube/unsent/kept").exists()

    @pytest.mark.parametrize("revision", ["nowhere", "--help", "$(touch pwned)"])
    def test_unknown_revision_is_refused(self, repository, revision):
        with (
            pytest.raises(DcubeError, match="is unknown"),
            workspace(repository, commit_of(repository, revision), "run", PARAMS),
        ):
            pass
        assert workspaces(repository) == []

    def test_damaged_data_are_refused(self, repository):
        record = (repository / "data.dvc").read_text()
        for file in (repository / ".dvc/cache/files").rglob("*"):
            if file.is_file() and file.read_text() == "raw ":
                file.chmod(0o600)
                file.write_text("rot ")
        with pytest.raises(DcubeError, match=r"is not what .*data\.dvc records"):
            with workspace(repository, "HEAD", "run", PARAMS):
                pass
        assert (repository / ".dcube/workspaces/run/data.dvc").read_text() == record

    def test_missing_data_are_fetched_from_the_remote_or_reported(self, repository, tmp_path):
        settings = repository / ".dvc/config.local"
        settings.write_text("[core]\nremote = store\n['remote \"store\"']\nurl = ../../store\n")
        dvc(repository, "push", "--quiet")
        shutil.rmtree(repository / ".dvc/cache")
        with workspace(repository, "HEAD", "run", PARAMS) as folder:
            assert (folder / "data/raw.txt").read_text() == "raw "
            push_results(folder)
        settings.unlink()
        shutil.rmtree(repository / ".dvc/cache")
        with pytest.raises(DcubeError, match=r"the data of .*data\.dvc cannot be restored"):
            with workspace(repository, "HEAD", "another", PARAMS) as folder:
                pass

    @pytest.mark.slow
    def test_embedded_data_set_is_added_when_it_cannot_be_restored(self, repository, ran):
        """The commit may record another data set, or data that nobody has pushed."""
        restore = partial(restore_or_add, name="breastmnist", on_line=print)
        with workspace(repository, "HEAD", "run", PARAMS, restore=restore) as folder:
            assert {file.name for file in (folder / "data").iterdir()} == {"breastmnist"}
            added = (folder / "data.dvc").read_text()
        assert added != (repository / "data.dvc").read_text()
        shutil.rmtree(repository / ".dvc/cache")
        with workspace(repository, "HEAD", "run", PARAMS, restore=restore) as folder:
            assert (folder / "data.dvc").read_text() == added
        with pytest.raises(DcubeError, match="cannot be restored"):
            with workspace(repository, "HEAD", "run", PARAMS, restore=partial(restore, name="own")):
                pass

    def test_uncommitted_data_are_reported(self, repository):
        command(repository, "git", "rm", "--quiet", "--cached", "data.dvc")
        command(repository, "git", "commit", "--quiet", "--message", "Forgotten")
        with workspace(repository, "HEAD", "run", PARAMS) as folder:
            with pytest.raises(DcubeError, match=r"data, which prepare reads, .* commit data or data\.dvc"):
                stages_in_order(folder)

    @pytest.mark.slow
    def test_experiment_is_saved_without_a_configured_git_user(self, repository, tmp_path, monkeypatch):
        """As in a container. A configured user stays the author."""

        def author(name: str) -> str:
            return command(repository, "git", "log", "-1", "--format=%an", f"--glob=refs/exps/*/{name}").strip()

        with workspace(repository, "HEAD", "run", PARAMS) as folder:
            repro("prepare", folder, on_progress=print)
            save_experiment(repository, folder, "by-somebody", ["prepare"])
            assert author("by-somebody") == "A Tester"
            for name in ("HOME", "XDG_CONFIG_HOME"):
                monkeypatch.setenv(name, str(tmp_path / "empty"))
            monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
            command(repository, "git", "config", "--remove-section", "user")
            save_experiment(repository, folder, "by-nobody", ["prepare"])
            assert author("by-nobody") == "D-Cube"

    @pytest.mark.slow
    def test_experiments_saved_at_the_same_time_do_not_collide(self, repository):
        names = ["first", "second"]

        def save(name: str) -> None:
            params = with_settings(Params(), [f"data.name={name}"])
            with workspace(repository, "HEAD", name, params.to_yaml()) as folder:
                repro("prepare", folder, on_progress=print)
                save_experiment(repository, folder, name, ["prepare"])

        threads = [threading.Thread(target=save, args=[name]) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(dvc(repository, "exp", "list", "--name-only").split()) == names
        for name in names:
            assert yaml.safe_load(saved_file(repository, name, "params.yaml"))["data"]["name"] == name


def saved_file(repository: Path, experiment: str, path: str) -> str:
    references = command(repository, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    reference = next(reference for reference in references if reference.endswith(f"/{experiment}"))
    return command(repository, "git", "show", f"{reference}:{path}")


class TestStageProcess:
    def test_interruption_ends_the_whole_process_group(self, repository, tmp_path, monkeypatch):
        monkeypatch.setattr(processes, "GRACE_SECONDS", 1.0)
        rewrite(repository, "stage.py", "import json,", HANG)
        (repository / "outputs/prepared").parent.mkdir()
        (repository / "outputs/prepared").touch()

        def interrupt(line: str) -> None:
            if line == "hanging":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            repro("train", repository, ["--single-item"], on_line=interrupt)
        assert_gone(tmp_path / "pids.txt")

    def test_stage_runs_the_code_of_its_revision(self, repository, monkeypatch):
        """Neither the installed package nor the one on the caller's PYTHONPATH."""
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        (repository / "dcube").mkdir()
        (repository / "dcube/__init__.py").write_text("NAME = 'own'")
        (repository / "scripts").mkdir()  # a script's own folder comes first in sys.path: this one contains no package
        (repository / "scripts/prepare.py").write_text("import dcube; print('ran', dcube.NAME)")
        (repository / "dvc.yaml").write_text("stages: {prepare: {cmd: python scripts/prepare.py}}")
        lines: list[str] = []
        repro("prepare", repository, on_line=lines.append)
        assert "ran own" in lines

    @pytest.mark.slow
    @pytest.mark.parametrize("torn", [0, 100])
    def test_repro_recovers_from_lock_files_that_a_killed_dvc_left(self, repository, ran, torn):
        assert repro("prepare", repository, on_progress=print).ran == ("prepare",)
        lock = repository / "dvc.lock"
        lock.write_bytes(lock.read_bytes()[:torn])
        (repository / ".dvc/tmp/rwlock").touch()
        (repository / ".git/index.lock").touch()
        again = repro("prepare", repository, on_progress=print)
        assert not again.failed and not again.ran, "the run cache knows the result"
        command(repository, "git", "add", "dvc.lock")
        assert ran() == ["prepare"]

    @pytest.mark.parametrize(
        ("ending", "reason", "bad_input"),
        [
            ("raise ValueError('boom')", r"ValueError: boom \(exit code 1\)", False),
            ("print('error: mend it', file=sys.stderr); sys.exit(2)", "mend it", True),
            ("os.kill(os.getpid(), 9)", "killed by SIGKILL", False),
            ("sys.exit(137)  # of a shell that waited", "killed by SIGKILL", False),
        ],
    )
    def test_failed_stage_reports_its_reason(self, repository, ending, reason, bad_input):
        (repository / "stage.py").write_text(f"import os, sys\n{ending}")
        result = repro("prepare", repository)
        assert result.failed and result.ran == ("prepare",) and re.fullmatch(reason, result.reason)
        assert result.bad_input is bad_input and result.interrupted is ("SIGKILL" in reason)

    def test_reason_and_log_of_a_failed_stage_have_no_colours(self, repository, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")  # of the worker
        (repository / "stage.py").write_text(r"import sys; sys.exit('\033[1;31merror: mend it\033[0m')")
        lines: list[str] = []
        result = repro("prepare", repository, on_line=lines.append)
        assert result.failed and result.reason == "mend it"
        assert "error: mend it" in lines and not [line for line in lines if "\x1b" in line]

    def test_stage_with_a_missing_dependency_never_starts(self, repository):
        (repository / "dvc.yaml").write_text("stages: {prepare: {cmd: python stage.py, deps: [missing]}}")
        result = repro("prepare", repository)
        assert result.ran == () and result.exit_code is None and result.interrupted
        assert "missing" in result.reason


class TestPipeline:
    @pytest.mark.slow
    def test_runs_are_isolated_and_compute_only_changed_stages(self, repository, prefect_server, ran, tmp_path):
        before = checkout_of(repository)

        first = pipeline(Params(), return_state=True)
        assert ran() == STAGES
        assert set(task_states(first).values()) == {"Completed"}
        assert task_runs(first)["train"].tags == ["gpu"]
        assert_shows_progress_and_results(first)

        second = pipeline(Params(), targets=["train"], return_state=True)
        assert ran() == []
        assert task_states(second) == dict.fromkeys(["prepare", "train"], "Cached")

        settings = ["diffusion.margin=0.2", "classifier.sub_features.architecture=$(touch pwned)`touch pwned`"]
        changed = with_settings(Params(), settings)
        third = pipeline(changed, targets=["train"], return_state=True)
        assert ran() == ["train"]
        assert not list(tmp_path.rglob("pwned"))

        assert checkout_of(repository) == before
        assert workspaces(repository) == []
        names = [state.result() for state in (first, second, third)]
        assert sorted(dvc(repository, "exp", "list", "--name-only").split()) == sorted(names)
        assert Params.model_validate(yaml.safe_load(saved_file(repository, names[2], "params.yaml"))) == changed
        assert set(yaml.safe_load(saved_file(repository, names[2], "dvc.lock"))["stages"]) == {"prepare", "train"}

    @pytest.mark.slow
    def test_failing_stage_fails_the_run_with_its_own_reason(self, repository, prefect_server, ran):
        rewrite(repository, "stage.py", "from pathlib import Path\n", UNREADABLE)
        rewrite(repository, "dvc.yaml", "meta: {gpu: true}", "meta: {retries: 3}")
        state = pipeline(Params(), return_state=True)
        assert state.is_failed()
        assert state.message.endswith("train: 3 images are unreadable: convert them")
        assert ran() == ["prepare"]
        assert task_states(state) == {"prepare": "Completed", "train": "Failed"}
        assert task_runs(state)["train"].run_count == 1, "what a person must mend is not retried"
        assert [folder.name for folder in workspaces(repository)] == [str(run_of(state).id)]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "retries, trouble",
        [(0, "os.kill(os.getpid(), 9)"), (1, "raise OSError('the GPU fell off the bus')")],
        ids=["killed", "error in the stage"],
    )
    def test_stage_is_retried_after_a_kill_or_an_error(
        self, repository, prefect_server, ran, tmp_path, monkeypatch, retries, trouble
    ):
        """After an error of its own only if `dvc.yaml` allows that; after a kill always."""
        monkeypatch.setattr(flows.pipeline, "SECONDS_BEFORE_RETRY", 0)
        before = tmp_path / "tried"
        first_time = f"if not os.path.exists({str(before)!r}):\n    open({str(before)!r}, 'w').close()\n    {trouble}\n"
        rewrite(repository, "stage.py", "from pathlib import Path\n", f"from pathlib import Path\n\n{first_time}")
        rewrite(
            repository,
            "dvc.yaml",
            "outs: [outputs/prepared]",
            f"outs: [outputs/prepared]\n    meta: {{retries: {retries}}}",
        )
        state = pipeline(Params(), targets=["prepare"], return_state=True)
        assert state.is_completed()
        assert ran() == ["prepare"]
        assert task_runs(state)["prepare"].run_count == 2

    @pytest.mark.slow
    def test_stage_is_killed_with_its_children_after_its_timeout(
        self, repository, prefect_server, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(processes, "GRACE_SECONDS", 1.0)
        rewrite(repository, "stage.py", "import json,", HANG)
        rewrite(repository, "dvc.yaml", "meta: {gpu: true}", "meta: {timeout_minutes: 0.1}")
        state = pipeline(Params(), targets=["train"], return_state=True)
        assert state.message.endswith("train: still running after 0.1 minutes, its timeout")
        assert_gone(tmp_path / "pids.txt")

    @pytest.mark.slow
    def test_second_attempt_waits_for_a_living_first_one(self, repository, prefect_server, ran, tmp_path):
        """A server that was away takes a living run for dead, and another worker begins it again."""
        rewrite(repository, "stage.py", "import json,", LONG)
        with get_client(sync_client=True) as client:
            run = client.create_flow_run(pipeline, parameters={}, state=Scheduled()).id
            first = attempt(run)
            wait_until((tmp_path / "begun").exists)
            for state in (Crashed(), Scheduled()):
                client.set_flow_run_state(run, state, force=True)
            second = attempt(run)
            said = next(line for line in second.stderr if "waiting until another process" in line)
            assert str(run) in said
            (tmp_path / "go").touch()
            first.communicate(timeout=250)
            rest = second.communicate(timeout=60)[1]
            ended = client.read_flow_run(run)
        assert (first.returncode, second.returncode) == (0, 0) and "and has ended it" in rest
        assert ended.state.is_completed() and ended.run_count == 2
        assert ran() == STAGES and workspaces(repository) == []

    def test_wrong_parameter_fails_the_run_before_any_stage(self, repository, prefect_server, ran):
        state = pipeline({"diffusion": {"width": -8}}, return_state=True)
        assert state.is_failed()
        assert "diffusion.width" in state.message
        assert ran() == []
        assert workspaces(repository) == []

    def test_form_has_groups_bounds_choices_and_help(self):
        schema = parameter_schema(pipeline).model_dump_for_openapi()
        width = schema["definitions"]["Diffusion"]["properties"]["width"]
        assert (width["minimum"], width["maximum"], width["default"]) == (16, 2048, 512)
        assert "paper" in width["description"]
        assert schema["definitions"]["Data"]["properties"]["fit"]["enum"] == ["crop", "pad", "stretch"]

    @pytest.mark.slow
    def test_flow_does_not_import_torch(self):
        program = "import sys, flows.pipeline; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
    def test_stopped_command_leaves_no_process_and_no_lock(self, repository, tmp_path, ran, stop):
        rewrite(repository, "stage.py", "import json,", HANG)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "flows.pipeline"]
        process = subprocess.Popen(
            command,
            cwd=repository,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # background jobs ignore it
        )
        wait_for(tmp_path / "pids.txt")
        started = psutil.Process(process.pid).children(recursive=True)
        assert any("server" in child.cmdline() for child in started)
        if stop == signal.SIGINT:
            os.killpg(process.pid, stop)  # as Ctrl-C in a terminal does
        else:
            process.send_signal(stop)
        assert process.wait(timeout=60) == 128 + stop
        _, left = psutil.wait_procs(started, timeout=5)
        assert left == []
        assert ran() == ["prepare"]
        (kept,) = workspaces(repository)
        dvc(kept, "repro", "prepare")


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def assert_shows_progress_and_results(state: State) -> None:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id={"any_": [run_of(state).id]}))
    artifacts = {artifact.key: artifact for artifact in found if artifact.key}
    bars = {f"progress-{name.replace('@', '-')}" for name in STAGES}
    assert set(artifacts) == bars | {"results"}
    assert artifacts["progress-train"].data == 50.0
    assert artifacts["progress-train"].description == "Working: 5/10 steps, 2 steps/s, 2 s left, loss 0.25"
    assert "| dcube | 0.500 (0.400–0.600) |" in artifacts["results"].data


UNREADABLE = """from pathlib import Path
if sys.argv[1] == "outputs/model":
    print("error: 3 images are unreadable: convert them", file=sys.stderr)
    sys.exit(2)
"""


# The training, until a test lets it go on.
LONG = """
import os, sys, time
from pathlib import Path
if sys.argv[1] == "outputs/model":
    Path(os.environ["RAN"]).with_name("begun").touch()
    while not Path(os.environ["RAN"]).with_name("go").exists():
        time.sleep(0.1)
import json,"""
ATTEMPT = """
import sys
from uuid import UUID
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from flows.pipeline import pipeline
with get_client(sync_client=True) as client:
    run = client.read_flow_run(UUID(sys.argv[1]))
run_flow(pipeline, flow_run=run, parameters={})
"""


def attempt(run: UUID) -> "subprocess.Popen[str]":
    """An attempt of the run in a process of its own, as a worker starts it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    return subprocess.Popen(
        [sys.executable, "-c", ATTEMPT, str(run)], env=environment, stderr=subprocess.PIPE, text=True
    )


class TestCommand:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (["diffusion.widht=64"], "--set: unknown key diffusion.widht (did you mean width?)"),
            (["diffusion.width=-8"], "--set: diffusion.width: input should be greater than or equal to 16 (got -8)"),
            (["diffusion.width"], "--set diffusion.width: expected group.key=value"),
            (["diffusion.width.more=1"], "--set: diffusion.width.more: width has no keys below it"),
        ],
    )
    def test_bad_settings_end_in_one_line_and_exit_code_2(self, repository, capsys, settings, message):
        with pytest.raises(SystemExit) as caught:
            main(settings=settings)
        assert caught.value.code == 2
        assert capsys.readouterr().err == f"error: {message}\n"

    def test_settings_override_single_parameters(self):
        params = with_settings(Params(), ["synthesis.ratio.benign=2", "classifier.evaluation_timesteps=[1, 5]"])
        assert params.synthesis.ratio == {"benign": 2.0}
        assert params.classifier.evaluation_timesteps == [1, 5]
        assert params.diffusion == Params().diffusion

    def test_deployment_run_with_incomplete_parameters_is_refused(self, monkeypatch):
        some = Params.model_validate({"diffusion": {"depth": 2}})
        refuse_incomplete(some)  # accepted: outside a deployment there is no preset to complete
        monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "a-deployment")
        with pytest.raises(
            DcubeError, match=r"params lacks data, diffusion\.patch_size, diffusion\.width and \d+ more"
        ):
            refuse_incomplete(some)
        form = load_preset("phantom").model_dump(mode="json")
        for group in form.values():
            for name in [name for name, value in group.items() if value in (None, [], {})]:
                del group[name]  # a form leaves out empty values
        refuse_incomplete(Params.model_validate(form))
