"""`dcube models`, `promote`, `rollback`, `lineage`, `reproduce`: the versions of a registered model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.artifacts.layout import PARAMS
from dcube.cli.predict import Reference
from dcube.cli.terminal import print_rich, quiet_mlflow
from dcube.config.loading import load_params
from dcube.errors import DcubeError

if TYPE_CHECKING:
    from dcube.registry.champions import Event
    from dcube.registry.provenance import Provenance
    from dcube.registry.versions import RegisteredModel

Model = Annotated[
    str | None, typer.Argument(help="Registered model. Default: dcube-NAME, where NAME is data.name in params.yaml.")
]
NEWEST = 20
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason, recorded in the history.")]


def models(
    name: Model = None,
    history: Annotated[
        bool, typer.Option("--history", help="Show the history of champions instead: version, date, person, reason.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help=f"Show all versions, not only the newest {NEWEST} and those with an alias.")
    ] = False,
) -> None:
    """List the newest versions of a registered model with their aliases and metrics."""
    if history and everything:
        raise DcubeError("--history shows every champion, and --all every version: leave out one of them")
    with _registered_model(name) as registered_model:
        from dcube.cli.registry_tables import history_table, split_notices, versions_table
        from dcube.registry.presence import REMEDY, lost_versions
        from dcube.registry.version import readable, with_source_runs

        snapshot = registered_model.snapshot()
        if history:
            print_rich(history_table(registered_model.name, snapshot.history()))
        else:
            entries = snapshot.entries if everything else snapshot.newest(NEWEST)
            versions, problems = readable(with_source_runs(registered_model.client, entries))
            print_rich(versions_table(snapshot, versions))
            checked = f"`dcube lineage {registered_model.name}/VERSION` compares with what was registered."
            print_rich(f"These values are what MLflow holds: {checked}")
            lost = lost_versions()
            for notice in (*problems, *split_notices(versions), f"{lost}. {REMEDY}" if lost else None):
                if notice:
                    print_rich(notice)
        if snapshot.champion_moved_by_hand():
            _print_moved(registered_model)


def promote(
    name: Model = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only compare. Exit code 0: it may be promoted.")] = False,
    reason: Reason = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A criterion for this promotion, for example sensitivity_margin=0.1. Keys: minimum_improvement, "
            "sensitivity_margin, calibration_loss, confidence, bootstrap_samples. Can be repeated.",
        ),
    ] = None,
) -> None:
    """Compare the challenger with the champion, and promote it if it meets all criteria. Exit code 1: not promoted."""
    if check and (yes or reason):
        raise DcubeError("--check only compares: leave it out, or --yes and --reason")
    with _registered_model(name) as registered_model:
        from dcube.cli.registry_tables import proposal_table, split_notices
        from dcube.registry import promotion
        from dcube.registry.promotion_policy import policy_with
        from dcube.tracking.lineage import person

        proposal = promotion.propose(registered_model, policy_with(settings or []))
        print_rich(proposal_table(proposal) if proposal.verdict.criteria else proposal.title)
        for notice in split_notices(filter(None, (proposal.challenger, proposal.champion))):
            print_rich(notice)
        may = "may be promoted" if proposal.verdict.promoted else "is not promoted"
        _print_moved(registered_model)
        print(f"Version {proposal.challenger.version} {may}: {proposal.verdict.reason}.")
        if not proposal.verdict.promoted:
            raise typer.Exit(1)
        if check:
            return
        if not yes and not typer.confirm("Make it champion?"):
            raise typer.Exit(1)
        _print_event(registered_model.name, promotion.promote(registered_model, proposal, person(), reason))


def rollback(
    reason: Reason,
    name: Model = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="Version to restore. Default: the previous champion.")
    ] = None,
) -> None:
    """Restore the previous champion, without a comparison."""
    with _registered_model(name) as registered_model:
        from dcube.registry import promotion
        from dcube.tracking.lineage import person

        _print_moved(registered_model)
        _print_event(registered_model.name, promotion.rollback(registered_model, person(), reason, to))


def lineage(reference: Reference) -> None:
    """Show where a registered version comes from: runs, commit, parameters, data, machine. Exit code 1: incomplete."""
    from dcube.cli.orchestrator import describe_pipeline

    with _origin(reference, describe_pipeline) as origin:
        from dcube.cli.registry_tables import lineage_table

        print_rich(lineage_table(origin))
        whole = f"Nothing is missing. Compared with what was registered: {origin.compared}."
        print("\n".join(f"missing: {gap}" for gap in origin.gaps) or whole)
        if origin.gaps:
            raise typer.Exit(1)


def reproduce(reference: Reference) -> None:
    """Reproduce a registered version in its own working copy and compare. Exit code 1: the result differs."""
    with _origin(reference) as origin:
        from dcube.cli.registry_tables import reproduction_table
        from dcube.registry.reproduction import reproduce

        result = reproduce(origin)
        print_rich(reproduction_table(result))
        if not result.equal:
            print(f"The result differs. The working copy is kept: {result.folder}")
            raise typer.Exit(1)
        print(f"Equal, byte for byte: {', '.join(result.files)}. Equal: every metric of the evaluation.")


@contextmanager
def _origin(reference: str, describe_pipeline: Callable[[str], str] = str) -> "Iterator[Provenance]":
    """Yield the lineage of `MODEL@ALIAS` or `MODEL/VERSION`."""
    from dcube.registry.references import resolve_reference
    from dcube.registry.version_lineage import lineage_of
    from dcube.repository.commands import repository_around
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    quiet_mlflow()
    with mlflow_errors_in_one_line():
        yield lineage_of(*resolve_reference(reference), repository_around(Path.cwd()), describe_pipeline)


def _print_moved(registered_model: "RegisteredModel") -> None:
    """Print a message if the champion differs from the one in the history."""
    if moved := registered_model.champion_moved_by_hand():
        print(f"{moved[0].upper()}{moved[1:]}.")


def _print_event(name: str, event: "Event") -> None:
    instead = f" instead of version {event.replaced}" if event.replaced not in (None, event.version) else ""
    print(f"Version {event.version} is the champion of {name} now{instead} ({event.how} by {event.who}).")


@contextmanager
def _registered_model(name: str | None) -> "Iterator[RegisteredModel]":
    """Yield the registered model `name`, or the one that params.yaml names."""
    from dcube.registry.references import model_of
    from dcube.registry.versions import RegisteredModel
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    quiet_mlflow()
    with mlflow_errors_in_one_line():
        yield RegisteredModel.existing(name or model_of(load_params(PARAMS).data.name))
