"""Versions and their aliases, the choice of the champion, and the history that the registry itself contains."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from dcube.artifacts.layout import CONFIG, DATASET, EVALUATION, METRICS_FILE, MODELS, PREDICTIONS, PREPARED, REGISTERED
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.metrics import Metrics
from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import evaluate_candidate
from dcube.registry.download import download_version
from dcube.registry.presence import lost_versions
from dcube.registry.promotion import ChampionChangedError, Proposal, appoint_first, promote, propose, rollback
from dcube.registry.promotion_policy import PromotionPolicy, PromotionRecord, Verdict
from dcube.registry.references import parse_reference, resolve_reference
from dcube.registry.registration import EvaluatedCandidate, challenger_of
from dcube.registry.version import Version
from dcube.registry.versions import (
    CHALLENGER,
    CHAMPION,
    RegisteredModel,
)
from dcube.runtime.retries import RetryPolicy
from dcube.stages import register
from dcube.tracking import lineage, tags
from dcube.tracking.mlflow_client import mlflow_errors_in_one_line, tracking_client
from dcube.tracking.outbox import Outbox
from dcube.tracking.run import tracked_run
from tests.support.evaluated_candidates import DATASET as DISCS
from tests.support.evaluated_candidates import EACH, NAME, predictions, run_pipeline, write_evaluated
from tests.support.metrics import made_metrics
from tests.support.random_candidate import CLASSES

POLICY = PromotionPolicy(bootstrap_samples=200)
# Requests of a promotion, in their order.
STEPS = "set_model_version_tag", "set_registered_model_tag", "log_text", "set_registered_model_alias"

LOCK_OF_NEWER_RESULTS = """
schema: '2.0'
stages:
  evaluate@dcube:
    cmd: evaluate
    outs: [{path: outputs/evaluation/dcube, hash: md5, md5: bbbb.dir, size: 1, nfiles: 1}]
  register:
    cmd: register
    deps: [{path: outputs/evaluation/dcube, hash: md5, md5: aaaa.dir, size: 1, nfiles: 1}]
"""


def evaluated(name: str, auroc: float, cross_entropy: float = 0.5, kind: str = "dcube") -> EvaluatedCandidate:
    metrics = made_metrics(validation={"auroc": auroc, "cross_entropy": cross_entropy}, kind=kind)
    return EvaluatedCandidate(name, Path(), Path(), metrics)


def test_challenger_is_the_best_on_validation_and_never_a_control():
    assert challenger_of([evaluated("a", 0.8), evaluated("b", 0.9), evaluated("c", 0.85)]).name == "b"
    assert challenger_of([evaluated("a", 0.9, 0.4), evaluated("b", 0.9, 0.3), evaluated("c", 0.9, 0.5)]).name == "b"
    controls = [evaluated(name, 0.99, kind=name) for name in ("untrained_uvit", "sub_features")]
    assert challenger_of([evaluated("a", 0.6, kind="resnet18"), *controls]).name == "a"
    assert challenger_of(controls) is None


def registered() -> dict:
    return json.loads((REGISTERED / "registered.json").read_text())


@pytest.mark.slow
def test_register_appoints_the_first_champion_and_later_only_challengers(working_copy, tiny_params, capsys):
    write_evaluated("dcube", seed=0, auroc=0.8, right=20, params=tiny_params)
    write_evaluated("sub_features", seed=1, auroc=0.9, right=25, params=tiny_params)
    weights = Metrics.load(EVALUATION / "dcube/metrics.json").weights_sha256
    with tracked_run("train_classifier@dcube", {}) as training:
        training.set_tags({"dcube.weights_sha256": weights})
    register.main()
    first = registered()
    assert first["name"] == NAME
    assert first["aliases"] == dict.fromkeys((CHALLENGER, CHAMPION), first["versions"]["dcube"])
    said = capsys.readouterr().out
    assert "challenger: dcube, version 1" in said, "a control is better, and stays a control"
    assert "champion: dcube, version 1, the first" in said

    registered_model = RegisteredModel.existing(NAME)
    champion = registered_model.holder(CHAMPION)
    assert champion.tags["dcube.training_run_id"] == training.run_id
    assert champion.metrics["test.macro_f1"] == pytest.approx(20 / 30)
    assert champion.tags["dcube.weights_sha256"] == weights
    pipeline = registered_model.client.get_run(champion.tags["mlflow.parentRunId"])
    assert pipeline.data.params["data.name"] == "discs" and pipeline.data.metrics["challenger.auroc"] > 0.7
    assert {"dcube.pipeline", "dcube.params_sha256", "mlflow.source.git.commit"} <= champion.tags.keys()
    assert "Intended use" in champion.description and "Phantom" in champion.description
    assert not list(working_copy.rglob("*.pkl")), "nothing may have to be unpickled"
    (event,) = registered_model.history()
    assert (event.version, event.how, event.replaced) == ("1", "first", None) and "pipeline" in event.who

    register.main()  # a second time: nothing new
    assert registered() == first and len(registered_model.versions()) == 2 and len(registered_model.history()) == 1

    write_evaluated("dcube", seed=2, auroc=0.95, right=30, params=tiny_params)  # better: challenger, but not champion
    register.main()
    assert registered()["aliases"] == {CHALLENGER: 3, CHAMPION: 1}
    assert "champion: still version 1" in capsys.readouterr().out

    assert lost_versions() is None
    (gone,) = Path("mlruns").rglob(f"{registered_model.version('3').run_id}/artifacts/evaluation/dcube/predictions.csv")
    gone.unlink()
    assert lost_versions().endswith("have lost files there: 3 (dcube)")
    register.main()
    assert registered()["versions"]["dcube"] == 4
    assert "version 3 of dcube-discs has lost files" in capsys.readouterr().out
    registered_model.client.delete_model_version(NAME, "2")
    assert lost_versions().startswith(f"outputs/registered/registered.json names versions of {NAME} that are not in")
    assert lost_versions().endswith("have lost files there: 2 (sub_features)")
    Path("dvc.lock").write_text(LOCK_OF_NEWER_RESULTS)
    assert lost_versions() is None, "the next `dvc repro` registers anyway"


def test_controls_alone_give_no_challenger(working_copy, tiny_params, capsys):
    write_evaluated("sub_features", seed=0, auroc=0.9, right=25, params=tiny_params)
    register.main()
    assert registered()["aliases"] == {} and registered()["challenger"] is None
    assert "only controls" in capsys.readouterr().out
    with pytest.raises(DcubeError, match="no challenger"):
        propose(RegisteredModel.existing(NAME), POLICY)


@pytest.mark.slow
def test_changed_code_makes_a_new_version_and_a_new_commit_does_not(working_copy, tiny_params, monkeypatch):
    registered_model = run_pipeline(tiny_params, 0, 20)
    monkeypatch.setattr("dcube.tracking.lineage.git_commit", lambda: "0" * 40)
    register.main()
    assert len(registered_model.versions()) == 1
    monkeypatch.setattr("dcube.registry.registration.code_fingerprint", lambda package: "other")
    register.main()
    assert len(registered_model.versions()) == 2 and registered()["versions"] == {"dcube": 2}


class TestPromotion:
    """Partly over HTTP, with predictions from the server's artifact store."""

    @pytest.mark.slow
    def test_better_challenger_replaces_the_champion_until_a_rollback(self, working_copy, tiny_params):
        registered_model = run_pipeline(tiny_params, 0, 20)
        proposal = propose(registered_model, POLICY)
        assert proposal.champion.version == "1" and "already" in proposal.verdict.reason
        with pytest.raises(DcubeError, match="already"):
            promote(registered_model, proposal, "Ada")

        run_pipeline(tiny_params, 1, 27)
        proposal = propose(registered_model, POLICY)
        assert proposal.verdict.promoted and "+0.2" in proposal.verdict.reason
        event = promote(registered_model, proposal, "Ada", "agreed on Monday")
        assert registered_model.aliases() == {CHALLENGER: "2", CHAMPION: "2"}
        assert (event.who, event.replaced, event.how) == ("Ada", "1", "promoted")
        assert event.why.startswith("agreed on Monday: macro F1 +0.2")
        file = f"{event.key.removeprefix('mlflow.')}.json"
        run_id = registered_model.version("2").run_id
        record = PromotionRecord.load(Path(registered_model.client.download_artifacts(run_id, file, str(working_copy))))
        assert record.policy.bootstrap_samples == 200 and record.criteria == proposal.verdict.criteria
        assert len(record.criteria) == 6

        run_pipeline(tiny_params, 2, 15)
        worse = propose(registered_model, POLICY)
        assert not worse.verdict.promoted and "macro F1" in worse.verdict.reason
        with pytest.raises(DcubeError, match="version 3 is not promoted"):
            promote(registered_model, worse, "Ada")
        assert registered_model.aliases()[CHAMPION] == "2"

        with pytest.raises(DcubeError, match="--reason"):
            rollback(registered_model, "Grace", " ")
        back = rollback(registered_model, "Grace", "wrong on the new scanner; asked by “B”")
        assert (back.version, back.replaced, back.how) == ("1", "2", "rolled back")
        assert registered_model.aliases()[CHAMPION] == "1"
        with pytest.raises(DcubeError, match="had no champion before"):
            rollback(registered_model, "Grace", "once more")
        rollback(registered_model, "Grace", "sorry", to="2")
        assert [(event.version, event.how) for event in registered_model.history()] == [
            ("1", "first"), ("2", "promoted"), ("1", "rolled back"), ("2", "rolled back"),
        ]  # fmt: skip
        assert len([key for key in registered_model.version("1").tags if key.startswith(tags.CHAMPION)]) == 2
        for to, words in (("9", "no version '9': it has 1, 2, 3"), ("2", "champion already"), ("x", "no version")):
            with pytest.raises(DcubeError, match=words):
                rollback(registered_model, "Grace", "why", to=to)

    @pytest.mark.slow
    def test_two_rollbacks_go_back_two_champions_despite_a_wrong_clock(self, working_copy, tiny_params, monkeypatch):
        years = iter(range(2030, 2000, -1))

        class Backwards(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime(next(years), 1, 1, tzinfo=tz)

        monkeypatch.setattr("dcube.registry.champions.datetime", Backwards)
        for seed, right in enumerate((12, 18, 24)):
            registered_model = run_pipeline(tiny_params, seed, right)
            if seed:
                promote(registered_model, propose(registered_model, POLICY), "Ada")
        assert [rollback(registered_model, "Ada", "bad").version for _ in range(2)] == ["2", "1"]
        assert promote(registered_model, propose(registered_model, POLICY), "Ada").version == "3"
        assert rollback(registered_model, "Ada", "bad").version == "1"

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime: `apt-get install faketime`")
    def test_history_keeps_its_order_when_clocks_differ_by_hours(self, working_copy, tiny_params):
        """The clock of a whole process, MLflow's times included: one machine is ahead, the next one behind."""
        for seed, right, clock in ((0, 12, None), (1, 18, "+5h"), (2, 24, "-5h")):
            registered_model = run_pipeline(tiny_params, seed, right)
            if clock:
                promote = [
                    sys.executable,
                    "-m",
                    "dcube.cli",
                    "promote",
                    NAME,
                    "--yes",
                    "--set",
                    "bootstrap_samples=200",
                ]
                subprocess.run(["faketime", "-f", clock, *promote], check=True)
        moments = [event.when for event in registered_model.history()]
        assert moments != sorted(moments), "the clocks did differ"
        assert [event.version for event in registered_model.history()] == ["1", "2", "3"]
        assert [rollback(registered_model, "Ada", "bad").version for _ in range(2)] == ["2", "1"]

    @pytest.mark.slow
    def test_challenger_with_other_test_images_is_refused(self, working_copy, tiny_params):
        run_pipeline(tiny_params, 0, 20)
        registered_model = run_pipeline(tiny_params, 1, 30, test="other-")
        with pytest.raises(DcubeError, match=r"different images.*dcube rollback dcube-discs --to 2"):
            propose(registered_model, POLICY)

    @pytest.mark.slow
    def test_ensemble_of_folds_is_compared_on_the_images_that_both_tested(self, working_copy, tiny_params, monkeypatch):
        run_pipeline(tiny_params, 0, 20)
        write_evaluated("dcube", seed=1, auroc=0.9, right=27, params=tiny_params)
        folder = EVALUATION / "dcube"
        every_second = predictions(dict.fromkeys(CLASSES, 27)).table.iloc[::2]
        every_second = Predictions(every_second.assign(id=range(len(every_second))).astype({"id": str}))
        config = CandidateConfig.load(MODELS / "dcube" / CONFIG)
        every_second.save(folder / PREDICTIONS)
        evaluate_candidate("dcube", config, DISCS, every_second, tiny_params.evaluation).save(folder / METRICS_FILE)
        own = lineage.checkout_tags()
        monkeypatch.setattr(lineage, "checkout_tags", lambda: own | {tags.ENSEMBLE: "dcube study folds"})
        register.main()
        proposal = propose(RegisteredModel.existing(NAME), POLICY)
        assert proposal.challenger.version == "2" and proposal.champion.version == "1"
        assert proposal.verdict.promoted, proposal.verdict.reason
        assert proposal.verdict.reason.endswith("(on the 45 test images that both have)")
        assert proposal.verdict.criteria[0].champion == "0.667"

    @pytest.mark.slow
    def test_promotion_stops_when_champion_or_challenger_has_changed(self, working_copy, tiny_params):
        run_pipeline(tiny_params, 0, 10)
        registered_model = run_pipeline(tiny_params, 1, 30)
        stale = propose(registered_model, POLICY)
        promote(registered_model, stale, "Ada")
        with pytest.raises(DcubeError, match=r"champion of .* has changed: compare again"):
            promote(registered_model, stale, "Grace")
        run_pipeline(tiny_params, 2, 25)
        with pytest.raises(DcubeError, match=r"challenger of .* has changed: compare again"):
            promote(registered_model, stale, "Grace")

    @pytest.mark.slow
    def test_deleted_champion_stays_in_the_history(self, working_copy, tiny_params, capsys):
        registered_model = run_pipeline(tiny_params, 0, 20)
        run_pipeline(tiny_params, 1, 27)
        promote(registered_model, propose(registered_model, POLICY), "Ada")
        registered_model.client.delete_model_version(NAME, "2")
        assert [event.version for event in registered_model.history()] == ["1", "2"], "and who appointed it, and why"
        run_pipeline(tiny_params, 2, 28)
        assert (
            CHAMPION not in registered_model.aliases()
            and "champion: none, since its version" in capsys.readouterr().out
        )
        with pytest.raises(DcubeError, match=r"version 2, was deleted, or lost its alias: .*dcube rollback"):
            propose(registered_model, POLICY)
        back = rollback(registered_model, "Ada", "version 2 was deleted")
        assert (back.version, back.replaced) == ("1", None) and registered_model.aliases()[CHAMPION] == "1"
        assert promote(registered_model, propose(registered_model, POLICY), "Ada").version == "3"

    @pytest.mark.slow
    def test_control_or_changed_version_cannot_become_champion(self, working_copy, tiny_params, capsys):
        write_evaluated("sub_features", seed=1, auroc=0.9, right=29, params=tiny_params)
        registered_model = run_pipeline(tiny_params, 0, 20)
        control = next(one.version for one in registered_model.versions() if one.tags["dcube.model"] == "sub_features")
        with pytest.raises(DcubeError, match=r"is a control \(sub_features\)"):
            rollback(registered_model, "Ada", "why not", to=control)
        registered_model.client.set_registered_model_alias(NAME, CHAMPION, control)
        with pytest.raises(DcubeError, match=r"is a control \(sub_features\)"):
            download_version(f"{NAME}@{CHAMPION}", working_copy / "control")
        assert download_version(f"{NAME}/{control}", working_copy / "by number").version == control
        registered_model.client.set_registered_model_alias(NAME, CHAMPION, registered_model.history()[-1].version)
        registered_model.client.set_registered_model_alias(NAME, CHALLENGER, control)
        with pytest.raises(DcubeError, match=r"is a control \(sub_features\)"):
            propose(registered_model, POLICY)
        (EVALUATION / "sub_features/metrics.json").unlink()
        run_pipeline(tiny_params, 3, 10)
        registered_model.client.set_registered_model_alias(NAME, CHAMPION, "3")
        assert "moved outside D-Cube: it is at version 3" in registered_model.champion_moved_by_hand()
        assert download_version(f"{NAME}@{CHAMPION}", working_copy / "moved").version == "3"
        assert "moved outside D-Cube: it is at version 3" in capsys.readouterr().err
        rollback(registered_model, "Ada", "I moved it on purpose", to="3")
        assert not registered_model.champion_moved_by_hand() and registered_model.history()[-1].version == "3"
        with pytest.raises(DcubeError, match="is the champion already"):
            rollback(registered_model, "Ada", "once more", to="3")
        for file in Path("mlruns").rglob("dcube/predictions.csv"):
            file.unlink()
        with pytest.raises(DcubeError, match="is not what was registered"):
            rollback(registered_model, "Ada", "why not", to=registered_model.history()[0].version)

    @pytest.mark.slow
    def test_failed_promotion_leaves_no_event(self, working_copy, tiny_params, monkeypatch):
        run_pipeline(tiny_params, 0, 10)
        registered_model = run_pipeline(tiny_params, 1, 30)
        proposal = propose(registered_model, POLICY)

        def away(*_):
            raise ConnectionError

        monkeypatch.setattr(registered_model.client, "set_registered_model_alias", away)
        with pytest.raises(ConnectionError):
            promote(registered_model, proposal, "Ada")
        assert [event.version for event in registered_model.history()] == ["1"]

    @pytest.mark.slow
    def test_predictions_are_stored_unchanged_and_lost_ones_are_named(self, working_copy, mlflow_server, tiny_params):
        registered_model = run_pipeline(tiny_params, 0, 20)
        version = registered_model.version("1")
        sent = predictions(dict.fromkeys(("benign", "malignant", "normal"), 20))
        assert registered_model.predictions(version).table.equals(sent.table) and EACH == 30
        registered_model.client.delete_run(version.run_id)
        for file in mlflow_server.rglob("predictions.csv"):
            file.unlink()
        with pytest.raises(DcubeError, match=r"not what was registered: evaluation/dcube/predictions\.csv is gone"):
            registered_model.predictions(version)


@pytest.mark.slow
def test_version_page_shows_data_warnings_in_short_form(working_copy, tiny_params):
    assert "by itself" not in run_pipeline(tiny_params, 1, 10).version("1").description
    warnings = ["what tells the classes apart by itself: file format", "a series stands for its patient"]
    DatasetInfo.load(PREPARED / DATASET).model_copy(update={"warnings": warnings}).save(PREPARED / DATASET)
    text = run_pipeline(tiny_params, 2, 10).version("2").description
    assert " What tells the classes apart by itself: file format. More warnings in the model card: 1.**" in text
    DatasetInfo.load(PREPARED / DATASET).model_copy(update={"warnings": ["word " * 200]}).save(PREPARED / DATASET)
    assert len(run_pipeline(tiny_params, 3, 10).version("3").description) < len(text) + 200


@pytest.mark.parametrize("error", [ConnectionError, KeyboardInterrupt])
@pytest.mark.parametrize("request_name", ["set_registered_model_alias", "update_registered_model"])
def test_event_is_kept_when_the_answer_to_a_request_is_lost(tracking_address, monkeypatch, request_name, error):
    """The request arrives, but its answer does not. `update_registered_model` only writes the model's page."""
    registered_model = RegisteredModel.created(tracking_client(), NAME)
    version = Version(registered_model.client.create_model_version(NAME, "file:///elsewhere"), None)
    arrives = getattr(registered_model.client, request_name)

    def without_answer(*words):
        arrives(*words)
        raise error

    monkeypatch.setattr(registered_model.client, request_name, without_answer)
    with suppress(error):
        appoint_first(registered_model, version, "Ada")
    assert registered_model.aliases() == {CHAMPION: "1"} and [
        event.version for event in registered_model.history()
    ] == ["1"]


@pytest.mark.parametrize("moment", STEPS)
def test_one_of_two_simultaneous_promotions_is_refused(tracking_address, monkeypatch, moment):
    """Just before one sends the request `moment`, the other completes its promotion."""
    mine, other = (RegisteredModel.created(tracking_client(), NAME) for _ in range(2))
    run = mine.client.create_run(mine.client.create_experiment("two"))
    entries = [mine.client.create_model_version(NAME, "file:///elsewhere", run.info.run_id) for _ in range(3)]
    first, second, third = (Version(entry, run) for entry in entries)
    appoint_first(mine, first, "Ada")
    promoted, told = [], []

    def move(registered_model, version):
        try:
            promoted.append(
                promote(registered_model, Proposal(version, first, POLICY, Verdict(True, "better"), 1), "Ada")
            )
        except ChampionChangedError:
            told.append(version.version)

    send = getattr(mine.client, moment)

    def meanwhile(*words):
        monkeypatch.setattr(mine.client, moment, send)
        other.set_alias(CHALLENGER, third.version)
        move(other, third)
        return send(*words)

    mine.set_alias(CHALLENGER, second.version)
    monkeypatch.setattr(mine.client, moment, meanwhile)
    move(mine, second)
    (event,) = promoted
    assert {event.version, *told} == {"2", "3"}
    assert mine.aliases()[CHAMPION] == event.version and mine.champion_moved_by_hand() == ""
    assert [(it.number, it.version) for it in mine.history()] == [(0, "1"), (1, event.version)]


def test_promotion_in_progress_is_not_reported_as_moved_by_hand(tracking_address, monkeypatch):
    """Checked at every step of the promotion; an alias that was moved by hand is still reported."""
    registered_model = RegisteredModel.created(tracking_client(), NAME)
    run = registered_model.client.create_run(registered_model.client.create_experiment("during"))
    entries = [
        registered_model.client.create_model_version(NAME, "file:///elsewhere", run.info.run_id) for _ in range(2)
    ]
    first, second = (Version(entry, run) for entry in entries)
    appoint_first(registered_model, first, "Ada")
    registered_model.set_alias(CHALLENGER, second.version)
    with ThreadPoolExecutor() as others:
        looking = []

        def slow(send):
            def sent(*words):
                answer = send(*words)
                looking.append(others.submit(RegisteredModel(tracking_client(), NAME).champion_moved_by_hand))
                time.sleep(0.3)  # the other thread looks meanwhile
                return answer

            return sent

        with monkeypatch.context() as patch:
            for step in STEPS:
                patch.setattr(registered_model.client, step, slow(getattr(registered_model.client, step)))
            promote(registered_model, Proposal(second, first, POLICY, Verdict(True, "better"), 1), "Ada")
        assert [it.result() for it in looking] == [""] * len(looking) and len(looking) >= len(STEPS)
    registered_model.client.set_registered_model_alias(NAME, CHAMPION, first.version)
    assert "moved outside D-Cube: it is at version 1" in registered_model.champion_moved_by_hand()


def test_reference_names_a_version(working_copy, tiny_params):
    run_pipeline(tiny_params, 0, 20)
    assert parse_reference("a-b@champion") == ("a-b", "champion", True) and parse_reference("m/12") == (
        "m",
        "12",
        False,
    )
    for reference in (f"{NAME}@champion", f"{NAME}/1"):
        assert resolve_reference(reference)[1].version == "1"
    for reference, words in (
        (NAME, "MODEL@ALIAS"),
        (f"{NAME}/x", "MODEL@ALIAS"),
        (f"{NAME}@best", "no alias 'best': it has challenger, champion"),
        (f"{NAME}/7", "no version '7'"),
        ("dcube-nothing@champion", "there are dcube-discs"),
        ("x' or '1'='1@champion", "no registered model"),
    ):
        with pytest.raises(DcubeError, match=words):
            resolve_reference(reference)


def test_reading_creates_no_database(working_copy):
    (working_copy / "mlflow.db").unlink()
    with pytest.raises(DcubeError, match="MLFLOW_TRACKING_URI"):
        RegisteredModel.existing(NAME)
    assert not (working_copy / "mlflow.db").exists()


def test_unreachable_server_ends_in_one_line_without_the_password(working_copy, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:1")
    monkeypatch.setattr("dcube.tracking.mlflow_client.FEW_RETRIES", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    with pytest.raises(DcubeError, match=r"http://127\.0\.0\.1:1") as caught, mlflow_errors_in_one_line():
        RegisteredModel.existing(NAME)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
    assert "does not answer" in str(caught.value) and "API request" not in str(caught.value)


def test_register_without_a_server_leaves_no_output(working_copy, tiny_params, monkeypatch):
    write_evaluated("dcube", seed=0, auroc=0.9, right=20, params=tiny_params)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    policies = dict.fromkeys(("FINISHED", "FAILED"), RetryPolicy(0, 0.1, 0.1))
    monkeypatch.setattr("dcube.runtime.retries.CLOSE_TRACKING", policies)
    with pytest.raises(DcubeError, match="does not answer"):
        register.main()
    assert not REGISTERED.exists()


def test_register_waits_for_a_server_that_is_away_at_first(working_copy, tiny_params, monkeypatch):
    write_evaluated("dcube", seed=0, auroc=0.9, right=20, params=tiny_params)
    monkeypatch.setattr("dcube.runtime.retries.CLOSE_TRACKING", {"FINISHED": RetryPolicy(60, 0.1, 0.1)})
    send, left = Outbox.send, iter(range(3))

    def sent(outbox: Outbox) -> None:
        if next(left, None) is not None:
            raise ConnectionError
        send(outbox)

    monkeypatch.setattr(Outbox, "send", sent)
    register.main()
    assert REGISTERED.exists()


@pytest.mark.parametrize("status", [401, 403])
def test_refused_account_is_named_in_one_line(status, working_copy, monkeypatch):
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"You are not authenticated. Please see https://www.mlflow.org/docs")

        def log_message(self, *words: object) -> None:
            """No lines on the terminal."""

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(DcubeError) as caught, mlflow_errors_in_one_line():
            RegisteredModel.existing(NAME)
        server.shutdown()
    reason = "refuses the user name or the password" if status == 401 else "gives this account no permission"
    assert reason in str(caught.value) and "API request" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        ("predictions.csv", "0.80000000000000004", "0.7", "metrics.json says"),
        ("predictions.csv", "malignant-3.png,malignant-1,hash", "x.png,malignant-1,no hash", "about other images"),
        ("metrics.json", '"macro_f1": 0.66', '"macro_f1": 0.96', "macro_f1 = 0.96"),
    ],
)
def test_metrics_that_contradict_the_predictions_are_not_registered(
    working_copy, tiny_params, file, before, after, words
):
    write_evaluated("dcube", seed=0, auroc=0.9, right=20, params=tiny_params)
    path = EVALUATION / "dcube" / file
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after))
    with pytest.raises(DcubeError, match=words):
        register.main()
    assert not REGISTERED.exists()


def test_evaluation_from_before_a_metric_was_added_is_registered(working_copy, tiny_params):
    """Promotion checks registered versions in the same way, and these cannot be evaluated again."""
    write_evaluated("dcube", seed=0, auroc=0.9, right=20, params=tiny_params)
    path = EVALUATION / "dcube" / "metrics.json"
    content = json.loads(path.read_text())
    del content["test"]["brier"], content["interval"]["brier"]
    path.write_text(json.dumps(content))
    register.main()
    assert REGISTERED.exists()


def test_register_without_an_evaluation_is_refused(working_copy):
    with pytest.raises(DcubeError, match="dvc repro"):
        register.main()
