"""`dcube plan`: parameters for a data set, a machine and a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcube.artifacts.layout import PARAMS, PLAN, PLAN_PAGE, RAW
from dcube.artifacts.schemas.plan import Goal
from dcube.cli.params import refuse_edited
from dcube.cli.terminal import print_rich
from dcube.config.guessed import is_guessed
from dcube.config.loading import load_params, parse_settings
from dcube.errors import DcubeError

if TYPE_CHECKING:
    from dcube.planning.plan import Plan


def plan(
    name: Annotated[str, typer.Argument(help="A data set that `dcube data add` has put into data/.")],
    minutes: Annotated[float | None, typer.Option(min=1, help="Time budget of `dvc repro` (default: 30).")] = None,
    hours: Annotated[float | None, typer.Option(min=0.1, max=1000, help="The same in hours.")] = None,
    goal: Annotated[
        Goal,
        typer.Option(help="Where the time goes: mostly to stage 1, evenly, or mostly to the classifiers."),
    ] = "balanced",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="GROUP.KEY=VALUE", help="A parameter set by hand. Can be repeated."),
    ] = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Keep file names and patient ids as they are. For public sets only.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Forget the values that were changed by hand since the last plan. Needed to overwrite a params.yaml "
            "that was edited and never planned.",
        ),
    ] = False,
) -> None:
    """Write params.yaml for a data set: sizes, networks and epochs that fit this machine and a time, with reasons.

    A second plan keeps what you have changed in params.yaml, unless --replace is given.
    """
    if not (RAW / name).exists():
        raise DcubeError(f"{RAW / name} does not exist: `dcube data add {name} PATH` puts a data set there")
    if minutes and hours:
        raise DcubeError("give --minutes or --hours, not both")
    by_hand = _set_before(name, replace) | parse_settings(settings or [])
    seconds = 60 * (minutes or 60 * (hours or 0.5))
    from dcube.planning.plan import make_plan
    from dcube.repository.graph import stages_in_order

    stages = [stage.name for stage in stages_in_order(Path())]
    made = make_plan(name, seconds, goal, stages, by_hand, keep_names, lambda line: print(f"  {line}"))
    _write(made)
    _show(made)


def _set_before(name: str, replace: bool) -> dict[str, Any]:
    """Return the parameters that the user has changed since the last plan of this data set."""
    from dcube.artifacts.schemas.plan import PlanSummary
    from dcube.planning.changes import set_by_hand

    if not PARAMS.exists() or replace:
        return {}
    params = load_params(PARAMS)
    if params.data.name != name or not PLAN.exists() or (last := PlanSummary.load(PLAN)).dataset != name:
        refuse_edited()
        return {}
    return set_by_hand(params, last)


def _write(made: "Plan") -> None:
    """Write the plan, and params.yaml last, because the stages read only that."""
    from dcube.artifacts.atomic import atomic_write
    from dcube.planning.writing import params_text, plan_page

    atomic_write(PLAN_PAGE, plan_page(made.params, made.summary, made.facts).encode())
    made.summary.save(PLAN)
    atomic_write(PARAMS, params_text(made.params, made.summary).encode())


def _show(made: "Plan") -> None:
    from itertools import groupby

    from rich.table import Table

    from dcube.planning.busy_cores import busy_in_words
    from dcube.planning.writing import value_as_text

    table = Table(
        "parameters", "reason", title=f"Plan for {made.summary.dataset}", title_justify="left", show_lines=True
    )
    for reason, decisions in groupby(made.summary.decisions, key=lambda one: one.reason):
        table.add_row("\n".join(f"{one.parameter}: {value_as_text(one.value)}" for one in decisions), reason)
    print_rich(table)
    if is_guessed(group_by := made.params.data.group_by or ""):
        print(
            f"data.group_by is a guess from file names, {group_by}: remove 'guessed:' if these images belong "
            "together. Until then a notice stands beside every metric."
        )
    minutes = f"{sum(made.summary.estimate.values()) / 60:.0f} of {made.summary.seconds / 60:g} minutes"
    if busy := busy_in_words(made.summary.waiting):
        print(busy)
    print(f"{PARAMS} is written, {PLAN_PAGE} has the time of every stage. `dvc repro` will take about {minutes}.")
