"""The output of `dcube results` and `dcube models`, also in a terminal of 80 columns."""

import subprocess

import pytest

from dcube.artifacts.layout import EVALUATION, METRICS_FILE
from dcube.artifacts.schemas.decision import DecisionRule, Estimate, OperatingPoint
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.loading import with_overrides
from dcube.stages import register
from tests.support.evaluated_candidates import write_evaluated

RIGHT = {"dcube": 29, "untrained_uvit": 15, "sub_features": 29, "baseline": 30}  # of the 30 test images of each class
ALL = "accuracy, macro F1 and AUROC"


@pytest.fixture
def tiny_params(tiny_params, working_copy):
    """Parameters with enough bootstrap samples that the verdicts do not depend on chance."""
    params = with_overrides(tiny_params, {"evaluation.bootstrap_samples": 1000}, "test")
    (working_copy / "params.yaml").write_text(params.to_yaml())
    return params


@pytest.fixture
def evaluate(working_copy, tiny_params):
    def evaluate(**right: int) -> None:
        for name, images in right.items():
            kind = "tf_efficientnet_lite0" if name == "baseline" else name
            write_evaluated(name, 0, auroc=0.9, right=images, params=tiny_params, kind=kind)

    return evaluate


def lines_of(shown: str, widest: int) -> list[str]:
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= widest
    return lines


def first_words(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines if line.split()]


def test_verdict_names_every_model_and_the_untrained_one_first(evaluate, run_dcube, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    evaluate(**RIGHT)
    code, shown = run_dcube("results")
    assert code == 0 and {*RIGHT} < set(first_words(lines_of(shown, 80)))
    said = " ".join(shown.split())
    assert said[said.index("dcube against") :].startswith(
        f"dcube against untrained_uvit: better in {ALL}. Training the diffusion model helped. "
        f"dcube against sub_features: no difference shown in {ALL}. "
        f"dcube against baseline: no difference shown in {ALL}."
    )


def test_verdict_reports_a_tie_with_or_loss_to_the_untrained_model(evaluate, run_dcube):
    evaluate(dcube=15, untrained_uvit=15)
    tie = f"dcube against untrained_uvit: no difference shown in {ALL}. It is not shown that training the diffusion"
    assert tie in " ".join(run_dcube("results")[1].split())
    evaluate(untrained_uvit=29)
    loss = f"dcube against untrained_uvit: worse in {ALL}. Training the diffusion model did harm."
    assert loss in " ".join(run_dcube("results")[1].split())


def test_candidates_without_evaluation_are_named(evaluate, run_dcube):
    evaluate(dcube=29, untrained_uvit=15)
    shown = " ".join(run_dcube("results")[1].split())
    assert "Not yet trained or evaluated: imagenet_probe, sub_features, baseline (`dvc repro`)." in shown
    evaluate(imagenet_probe=20, **RIGHT)
    assert "Not yet trained" not in run_dcube("results")[1]


def test_names_with_markup_are_printed_literally(evaluate, working_copy, run_dcube):
    evaluate(dcube=29)
    for file in (working_copy / EVALUATION / "dcube").glob("*.[cj]s*"):
        file.write_text(file.read_text().replace("benign", "[/dim] benign"))
    code, shown = run_dcube("results")
    assert code == 0 and "[/dim] benign" in shown


def test_choice_of_operating_points_is_explained_once(evaluate, run_dcube):
    evaluate(**RIGHT)
    assert run_dcube("results")[1].count("no operating point was chosen") == 1
    for number, name in enumerate(RIGHT):
        file = EVALUATION / name / METRICS_FILE
        rule, rate = DecisionRule(of_class="benign", threshold=0.25 + number / 10), Estimate(value=0.9, low=0.8, high=1)
        point = OperatingPoint(rule=rule, chosen_by="youden", validation={"ppv": rate}, test={"ppv": rate})
        Metrics.load(file).model_copy(update={"operating_point": point}).save(file)
    said = " ".join(run_dcube("results")[1].split())
    assert (
        said.count("benign is decided from each model's own threshold on")
        == said.count("for the largest sum of sensitivity and specificity")
        == 1
    )
    assert "untrained_uvit: threshold 0.350. On test: PPV 0.900 (0.800–1.000)." in said


@pytest.mark.slow
def test_narrow_terminal_omits_wide_columns_and_names_them(evaluate, run_dcube, monkeypatch):
    evaluate(**RIGHT)
    monkeypatch.setenv("COLUMNS", "60")
    table = lines_of(run_dcube("results")[1], 60)
    assert "A wider terminal also shows: macro precision, macro recall." in table
    assert first_words(table).count("untrained_uvit") == 2, "it is broken in one of the tables"
    assert "A wider terminal also shows: accuracy, McNemar." in table

    register.main()
    monkeypatch.setenv("COLUMNS", "80")
    lines = lines_of(run_dcube("models")[1], 80)
    cells = " ".join(lines).split()
    for word in (*RIGHT, "tf_efficientnet_lite0", "challenger", "champion", "accuracy", "AUROC"):
        assert word in cells, f"{word} is broken"
    monkeypatch.setenv("COLUMNS", "60")
    assert "untrained_uvit" in " ".join(lines_of(run_dcube("models")[1], 60)).split()
    (left_out,) = (line for line in lines if line.startswith("A wider terminal also shows: "))
    assert "validation AUROC" in left_out and "registered" in left_out
    monkeypatch.setenv("COLUMNS", "200")
    shown = run_dcube("models")[1]
    assert "wider terminal" not in shown and "registered" in shown


def test_results_suggest_a_commit_and_then_a_comparison(evaluate, working_copy, run_dcube, monkeypatch):
    evaluate(dcube=20)
    monkeypatch.setenv("COLUMNS", "100")
    assert "git add" not in run_dcube("results")[1], "no git repository"

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words], check=True)

    git("init", "--quiet")
    for name in ("dvc.lock", "data.dvc", "plan.json", "plan.md"):
        (working_copy / name).write_text("outs: []\n")
    said = "git add data.dvc dvc.lock params.yaml plan.json plan.md && git commit"
    assert said in run_dcube("results")[1].splitlines()
    git("add", "data.dvc", "params.yaml", "plan.json", "plan.md")
    git("commit", "--quiet", "--message", "All but the lock")
    assert "git add dvc.lock && git commit" in run_dcube("results")[1].splitlines()
    git("add", "dvc.lock")
    git("commit", "--quiet", "--message", "The lock")
    shown = run_dcube("results")[1]
    assert "git add" not in shown and "dvc exp show --only-changed --drop 'outputs/|Created'" in shown
