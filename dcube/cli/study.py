"""`dcube study` and `dcube studies`: the paper's tables, and your own studies."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.cli.terminal import print_rich, quiet_mlflow
from dcube.studies.options import Data, Name, Repeats, Rows, Settings

if TYPE_CHECKING:
    from dcube.studies.runner import Runner, StudyResults

STUDIES = Path("outputs/studies")


def studies() -> None:
    """List the built-in studies: the paper's tables, and more."""
    from rich.table import Table

    from dcube.studies.study import load_study, study_names

    table = Table("study", "title", "rows", "repeats", box=None, pad_edge=False)
    for name in study_names():
        made = load_study(name)
        lines = len(made.rows) * (len(made.sweep.values) if made.sweep else 1)
        table.add_row(name, made.title, str(lines), str(made.repeats))
    print_rich(table)


def study(
    name: Name,
    data: Data = None,
    settings: Settings = None,
    row: Rows = None,
    repeats: Repeats = None,
    workers: Annotated[
        bool, typer.Option("--workers", help="Compute on the workers of PREFECT_API_URL, then collect here.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only list the trials and mark those already computed.")] = False,
    register: Annotated[
        str | None,
        typer.Option(
            "--register", metavar="ROW", help="Then register this row's models of all folds as one version, their mean."
        ),
    ] = None,
) -> None:
    """Compute a table of the paper, or of your own, and print it with spread and significance."""
    from dcube.studies.building import build_runner

    runner = build_runner(name, data, settings or [], row or [], repeats)
    if register is not None:
        from dcube.studies.ensemble import refuse_unfit

        refuse_unfit(runner, register)
    if plan:
        _print_plan(runner)
        return
    _warn_of_changes(runner)
    if workers:
        _fan_out(name, data, settings or [], row or [], repeats)
    results = _report(runner)
    if register is not None:
        _register(runner, register, results)
    if results.failures:
        raise typer.Exit(1)


def _print_plan(runner: "Runner") -> None:
    trials = runner.first_trials()
    known = [runner.has_result(trial) for trial in trials]
    for trial, is_known in zip(trials, known, strict=True):
        print(f"{trial.target}  {trial.title}{'  (computed)' if is_known else ''}")
    print(f"{sum(known)} of {len(trials)} trials are computed already")


def _report(runner: "Runner") -> "StudyResults":
    from dcube.studies.mlflow_runs import log
    from dcube.studies.output import write
    from dcube.studies.rendering import terminal
    from dcube.studies.table import make_table
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    results = runner.run()
    table = make_table(runner.name, runner.study, runner.base, results)
    folder = STUDIES / f"{runner.name}-{runner.base.data.name}"
    write(table, folder)
    for part in terminal(table):
        print_rich(part)
    print(f"\nTables, every repeat's metrics, plots: {folder}")
    quiet_mlflow()
    with mlflow_errors_in_one_line():
        print(f"The same in MLflow: experiment {log(table, runner.base, folder)}")
    return results


def _register(runner: "Runner", row: str, results: "StudyResults") -> None:
    from dcube.evaluation.metrics import COMPARED
    from dcube.evaluation.operating_point import decision_in_words
    from dcube.evaluation.summary import interval_text, tested_on
    from dcube.studies.ensemble import register_ensemble
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    with mlflow_errors_in_one_line():
        result, metrics = register_ensemble(runner, row, results)
    (version,) = result.versions.values()
    held = [alias for alias, number in result.aliases.items() if number == version]
    shown = (f"{it.title} {metrics.test[it.name]:.3f} ({interval_text(metrics, it.name, 2)})" for it in COMPARED)
    print(f"\n{result.name} version {version}: {metrics.model}, {' and '.join(held) or 'without an alias'}")
    print(f"All folds pooled ({tested_on(metrics)}; the table's are means over folds): {', '.join(shown)}")
    print(decision_in_words(metrics.operating_point, metrics.confidence))


def _warn_of_changes(runner: "Runner") -> None:
    from dcube.repository.commands import uncommitted_files

    if changed := [line for line in uncommitted_files(runner.repository) if "dcube/" in line or "dvc.yaml" in line]:
        print(
            f"warning: using the last commit, without the uncommitted changes to {', '.join(changed)}", file=sys.stderr
        )


def _fan_out(name: str, data: str | None, settings: list[str], rows: list[str], repeats: int | None) -> None:
    from dcube.cli.orchestrator import compute_study

    options = [*(["--data", data] if data else []), *(["--repeats", str(repeats)] if repeats else [])]
    options += [word for setting in settings for word in ("--set", setting)]
    options += [word for row in rows for word in ("--row", row)]
    compute_study([*options, "--", name])
