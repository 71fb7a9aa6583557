"""Runs reach MLflow completely, even if the server is unavailable or the process is killed."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from dcube.config.loading import flattened
from dcube.runtime import retries
from dcube.runtime.ports import free_port
from dcube.runtime.retries import RetryPolicy
from dcube.tracking import lineage, outbox
from dcube.tracking.mlflow_client import after_collision, is_collision, is_refusal, mlflow_key
from dcube.tracking.run import tracked_run

ROWS = [{"step": step, "loss": 1 / step, "lr": 0.1} for step in range(1, 51)]


@pytest.fixture
def client(mlflow_database, tmp_path, monkeypatch) -> MlflowClient:
    """A client of the default store in a new working copy."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DCUBE_PIPELINE", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    return MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def server_away(monkeypatch):
    """Call it with True to make the server unavailable and with False to make it available again."""
    reachable = outbox.tracking_client

    def absent():
        raise ConnectionError("nobody there")

    def switch(away: bool) -> None:
        monkeypatch.setattr(outbox, "tracking_client", absent if away else reachable)

    monkeypatch.setattr(retries, "SEND_TRACKING", RetryPolicy(None, 0.01, 0.01))
    monkeypatch.setattr(retries, "CLOSE_TRACKING", dict.fromkeys(retries.CLOSE_TRACKING, RetryPolicy(0.05, 0.01, 0.01)))
    return switch


def runs(client: MlflowClient, stage: str):
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments, f"tags.`dcube.stage` = '{stage}'")


def history(client: MlflowClient, run, key: str = "loss") -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]


EXPECTED = [(row["step"], float(f"{row['loss']:.6g}")) for row in ROWS]  # MLflow's lists show every digit


def test_run_holds_parameters_metrics_artifacts_tags_and_data(client, tmp_path, disc_dataset):
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "table.csv").write_text("a\n1\n")
    with tracked_run("train_diffusion", {"diffusion": {"width": 64, "deep": {"list": [1, 2]}}}, disc_dataset) as run:
        run.log_metrics(ROWS)
        run.log_figure(Figure(), "pictures/empty.png")
        run.log_text("words", "notes/a.txt")
        run.log_artifacts(tmp_path / "more", "folder")
        run.set_tags({"dcube.weights_sha256": "abc"})
    (found,) = runs(client, "train_diffusion")
    assert found.info.status == "FINISHED"
    assert found.data.params == {"diffusion.width": "64", "diffusion.deep.list": "[1, 2]"}
    assert history(client, found) == EXPECTED
    assert found.data.tags["dcube.weights_sha256"] == "abc"
    assert {"dcube.machine", "dcube.version.torch", "mlflow.source.git.commit"} <= found.data.tags.keys()
    files = {
        item.path for folder in ("pictures", "notes", "folder") for item in client.list_artifacts(run.run_id, folder)
    }
    assert files == {"pictures/empty.png", "notes/a.txt", "folder/table.csv"}
    (data,) = found.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("discs", "0123456789abcdef0123456789abcdef.dir")
    assert client.get_experiment_by_name("dcube/discs").artifact_location == (tmp_path / "mlruns").as_uri()
    assert not list(outbox.UNSENT.iterdir())


def test_runs_of_one_pipeline_share_a_parent(client, monkeypatch):
    monkeypatch.setenv("DCUBE_PIPELINE", "one")
    for stage in ("prepare", "track_fid"):
        with tracked_run(stage, {}):
            pass
    monkeypatch.setenv("DCUBE_PIPELINE", "two")
    with tracked_run("evaluate@dcube", {}):
        pass
    stages = ("prepare", "track_fid", "evaluate@dcube")
    parent = {stage: runs(client, stage)[0].data.tags["mlflow.parentRunId"] for stage in stages}
    assert parent["prepare"] == parent["track_fid"] != parent["evaluate@dcube"]
    assert [run.info.status for run in runs(client, "pipeline")] == ["FINISHED"] * 2


def test_pipeline_run_has_the_status_of_its_last_stage(client, monkeypatch):
    monkeypatch.setenv("DCUBE_PIPELINE", "one")

    def status() -> str:
        (parent,) = runs(client, "pipeline")
        return parent.info.status

    with tracked_run("prepare", {}):
        assert status() == "RUNNING"
    with pytest.raises(ValueError), tracked_run("train_diffusion", {}, run_key="key"):
        raise ValueError
    assert status() == "FAILED"
    with tracked_run("train_diffusion", {}, run_key="key"):
        pass
    assert status() == "FINISHED"


@pytest.mark.parametrize("error, status", [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_status_of_a_run_follows_its_exception(client, error, status):
    with pytest.raises(error), tracked_run("prepare", {}):
        raise error
    assert runs(client, "prepare")[0].info.status == status


def test_sigterm_ends_the_run_as_killed(client):
    with pytest.raises(SystemExit) as ended, tracked_run("prepare", {}):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert ended.value.code == 143
    assert runs(client, "prepare")[0].info.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_resumed_training_continues_its_run(client):
    """A training that stops at step 30 and resumes at step 20 is one run with every step once."""
    with pytest.raises(KeyboardInterrupt), tracked_run("train_diffusion", {"a": 1}, run_key="key") as run:
        run.log_metrics(ROWS[:30])
        raise KeyboardInterrupt
    with tracked_run("train_diffusion", {"a": 1}, run_key="key") as run:
        run.log_metrics(ROWS[20:])
    (found,) = runs(client, "train_diffusion")
    assert found.info.status == "FINISHED"
    assert history(client, found) == EXPECTED
    with tracked_run("train_diffusion", {"a": 1}, run_key="key"):
        pass
    assert len(runs(client, "train_diffusion")) == 2


@pytest.mark.slow
def test_sigkill_loses_no_metrics(client, tmp_path):
    """The rows written just before the kill were never sent; the next stage of the working copy delivers them."""
    program = (
        "import os\nfrom dcube.tracking.run import tracked_run\n"
        "with tracked_run('train_diffusion', {}) as run:\n"
        "    for step in range(1, 51): run.log_metrics([{'step': step, 'loss': 1 / step}])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path).returncode == -9
    with tracked_run("track_fid", {}):
        pass
    (found,) = runs(client, "train_diffusion")
    assert found.info.status == "KILLED"
    assert history(client, found) == EXPECTED
    assert not list(outbox.UNSENT.iterdir())


def test_incomplete_line_of_a_killed_process_is_skipped(client):
    with tracked_run("train_diffusion", {}) as run:
        run.log_metrics(ROWS)
        (journal,) = outbox.UNSENT.glob("*/metrics.jsonl")
        with journal.open("a") as file:
            file.write('{"step": 51, "val')
    assert history(client, runs(client, "train_diffusion")[0]) == EXPECTED


def test_temporarily_unavailable_server_gets_all_records(client, server_away):
    server_away(True)
    with tracked_run("train_diffusion", {"a": 1}) as run:
        run.log_metrics(ROWS[:10])
        server_away(False)
        time.sleep(0.02)
        run.log_metrics(ROWS[10:30])
        server_away(True)
        time.sleep(0.02)
        run.log_metrics(ROWS[30:40])
        run.log_text("words", "a.txt")
        server_away(False)
        time.sleep(0.02)
        run.log_metrics(ROWS[40:])
    (found,) = runs(client, "train_diffusion")
    assert history(client, found) == EXPECTED
    assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["a.txt"]


def test_next_stage_sends_records_that_waited_for_the_server(client, server_away, capfd):
    server_away(True)
    with tracked_run("train_diffusion", {"a": 1}) as run:
        run.log_metrics(ROWS)
        run.set_tags({"dcube.kind": "dcube"})
    assert ".dcube/unsent/" in capfd.readouterr().err.splitlines()[-1]
    server_away(False)
    with tracked_run("track_fid", {}):
        pass
    (found,) = runs(client, "train_diffusion")
    assert (found.info.status, found.data.tags["dcube.kind"]) == ("FINISHED", "dcube")
    assert history(client, found) == EXPECTED


def test_repeated_sending_creates_no_duplicates(client, monkeypatch):
    """The server stores a batch, but the connection is lost before its answer."""
    send, calls = MlflowClient.log_batch, []

    def interrupted(self, run_id, metrics=(), **rest):
        send(self, run_id, metrics=metrics, **rest)
        if metrics and not calls:
            calls.append(1)
            raise ConnectionError("the answer got lost")

    monkeypatch.setattr(retries, "SEND_TRACKING", RetryPolicy(None, 0.01, 60))
    monkeypatch.setattr(MlflowClient, "log_batch", interrupted)
    with tracked_run("train_diffusion", {}) as run:
        run.log_metrics(ROWS)
    assert calls
    assert history(client, runs(client, "train_diffusion")[0]) == EXPECTED


def test_concurrent_run_of_the_same_training_is_refused(client):
    with tracked_run("train_diffusion", {}, run_key="key"):
        refused = []

        def second():
            try:
                with tracked_run("train_diffusion", {}, run_key="key"):
                    pass
            except Exception as error:
                refused.append(str(error))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another process" in refused[0]


def test_deleted_experiment_is_named_and_its_records_are_kept(client, capfd):
    with tracked_run("prepare", {}) as run:
        pass
    experiment = client.get_run(run.run_id).info.experiment_id
    client.delete_experiment(experiment)
    start = time.monotonic()
    with tracked_run("train_diffusion", {}) as run:
        run.log_metrics(ROWS)
    assert time.monotonic() - start < 10
    told = capfd.readouterr().err
    assert f"mlflow experiments restore --experiment-id {experiment}" in told and "does not answer" not in told
    client.restore_experiment(experiment)
    with tracked_run("track_fid", {}):
        pass
    assert history(client, runs(client, "train_diffusion")[0]) == EXPECTED


@pytest.mark.parametrize("damage", ["no JSON\n", "[1]\n", '{"step": "x", "time": 1, "values": {}}\n'])
def test_damaged_record_does_not_block_others(client, server_away, capfd, damage):
    server_away(True)
    for stage in ("prepare", "track_fid", "evaluate@dcube", "train_diffusion"):
        with tracked_run(stage, {}) as run:
            run.log_metrics(ROWS)
    waiting = {json.loads(file.read_text())["name"]: file.parent for file in outbox.UNSENT.glob("*/run.json")}
    (waiting["prepare"] / "metrics.jsonl").write_text(damage)
    (waiting["track_fid"] / "run.json").write_text("[]")
    (waiting["evaluate@dcube"] / "artifacts" / "gone").symlink_to("nowhere")
    server_away(False)
    capfd.readouterr()
    for _ in range(2):
        with tracked_run("register", {}):
            pass
    assert history(client, runs(client, "train_diffusion")[0]) == EXPECTED
    assert history(client, runs(client, "evaluate@dcube")[0]) == EXPECTED
    told = capfd.readouterr().err
    assert told.count("metrics.jsonl has a damaged line") == 1 and told.count("run.json cannot be read") == 1
    assert len(list(outbox.REFUSED.iterdir())) == 2 and not list(outbox.UNSENT.glob("*/run.json"))


def test_permanent_error_of_one_run_does_not_block_others(client, server_away, monkeypatch, capfd):
    """MLflow answers requests for one run with status 500."""
    server_away(True)
    for stage in ("prepare", "train_diffusion"):
        with tracked_run(stage, {}) as run:
            run.log_metrics(ROWS)
    create = MlflowClient.create_run

    def fails(self, experiment_id, *rest, **options):
        if "prepare" in (*rest, options.get("run_name")):
            raise RestException({"error_code": "INTERNAL_ERROR", "message": "value too long"})
        return create(self, experiment_id, *rest, **options)

    monkeypatch.setattr(MlflowClient, "create_run", fails)
    server_away(False)
    outbox.deliver_left_behind(print)
    assert history(client, runs(client, "train_diffusion")[0]) == EXPECTED
    assert len(list(outbox.UNSENT.glob("*/run.json"))) == 1
    assert "value too long" in capfd.readouterr().out


def test_every_class_has_its_own_metric_and_parameter(mlflow_server, tmp_path, monkeypatch):
    """A real server gets class names in several scripts."""
    monkeypatch.chdir(tmp_path)
    classes = ["肺炎", "結節あり", "التهاب رئوي", "CT (a)", "CT [a]", "CT _a_", "a/b", "a//b"]
    values = {name: place / 10 for place, name in enumerate(classes)}
    with tracked_run("evaluate@dcube", {"ratio": values}) as run:
        run.log_metrics([{"step": 0, "nothing": math.nan, **{f"sensitivity/{name}": values[name] for name in classes}}])
    data = MlflowClient().get_run(run.run_id).data
    assert [data.metrics[mlflow_key(f"sensitivity/{name}")] for name in classes] == list(values.values())
    assert [data.params[mlflow_key(f"ratio.{name}")] for name in classes] == [str(it) for it in values.values()]
    assert len(data.params) == len(classes) and "sensitivity/肺炎" in data.metrics


def test_metric_keys_are_unique_and_nested_parameters_flattened(client):
    names = [
        "肺炎", "結節あり", "التهاب", "CT (non-COVID)", "CT [non-COVID]", "CT _non-COVID_", "a//b", "a/b", "..", ".",
        "/", "x" * 300, "x" * 300 + "y", "é", "e\N{COMBINING ACUTE ACCENT}",
    ]  # fmt: skip
    keys = [mlflow_key(f"test.sensitivity/{name}") for name in names]
    assert len(set(keys)) == len(names), "each class keeps a key of its own"
    assert keys[:3] == [f"test.sensitivity/{name}" for name in names[:3]]
    keys += [mlflow_key(".."), mlflow_key("/a")]
    run = client.create_run("0")
    client.log_batch(run.info.run_id, [Metric(key, 0.5, 0, 0) for key in keys])
    assert client.get_run(run.info.run_id).data.metrics.keys() == set(keys)
    assert flattened({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}


def test_lineage_has_only_hashes_of_upstream_outputs(tmp_path, monkeypatch):
    """The lock file also contains later stages of an earlier run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  evaluate:\n    matrix: {model: [a, b]}\n    deps: [prepared, 'models/${item.model}', dcube]\n"
    )
    locked = {
        "prepare": {"deps": [{"path": "data"}], "outs": [{"path": "prepared", "md5": "1"}]},
        "diffusion": {"deps": [{"path": "prepared"}], "outs": [{"path": "diffusion", "md5": "2"}]},
        "train@a": {"deps": [{"path": "diffusion"}], "outs": [{"path": "models/a", "md5": "3"}]},
        "train@b": {"deps": [{"path": "diffusion"}], "outs": [{"path": "models/b", "md5": "4"}]},
        "evaluate@a": {"deps": [{"path": "models/a"}], "outs": [{"path": "evaluation/a", "md5": "5"}]},
    }
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": locked}))
    assert lineage.upstream_hashes("evaluate@a") == {"diffusion": "2", "models/a": "3", "prepared": "1"}


class Server:
    """A real `mlflow server` that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--artifacts-destination",
            str(self.folder / "artifacts"),
        ]  # fmt: skip
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise TimeoutError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.mark.slow
def test_run_is_complete_although_the_server_was_killed_and_restarted(mlflow_database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retries, "SEND_TRACKING", RetryPolicy(None, 0.2, 0.5))
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    server = Server(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    server.start()
    longest = 0.0
    try:
        with tracked_run("train_diffusion", {"a": 1}) as run:
            for position, row in enumerate(ROWS):
                if position == 15:
                    server.stop()
                if position == 35:
                    server.start()
                before = time.monotonic()
                run.log_metrics([row])
                run.log_text(str(position), f"notes/{position}.txt")
                longest = max(longest, time.monotonic() - before)
                time.sleep(0.05)
        client = MlflowClient(server.uri)
        (found,) = runs(client, "train_diffusion")
        assert found.info.status == "FINISHED"
        assert history(client, found) == EXPECTED
        assert len(client.list_artifacts(found.info.run_id, "notes")) == len(ROWS)
        assert longest < 15
    finally:
        server.stop()


def test_refused_record_is_sent_after_it_is_moved_back(client, server_away):
    server_away(True)
    with tracked_run("train_classifier", {}, None, run_key="the-key") as tracked:
        tracked.log_metrics(ROWS)
    (folder,) = (record.parent for record in outbox.UNSENT.glob("*/run.json"))
    moved_back = folder.rename(folder.with_name(f"{folder.name}-1700000000000"))
    server_away(False)
    outbox.deliver_left_behind(print)
    (run,) = runs(client, "train_classifier")
    assert run.data.metrics["loss"] == ROWS[-1]["loss"] and run.info.status == "FINISHED"
    assert not moved_back.exists()


def test_collision_of_two_clients_is_retried():
    """MLflow looks up a data set and then inserts it, so that two clients can insert the same row."""
    met = MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.digest", error_code=BAD_REQUEST)
    answers = iter((met, None))

    def write() -> str:
        if error := next(answers):
            raise error
        return "written"

    assert is_collision(met) and not is_refusal(met)
    assert after_collision()(write) == "written"
