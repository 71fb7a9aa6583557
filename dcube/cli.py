"""The command `dcube`. Heavy imports stand inside the commands, so that help appears at once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.cli_predict import Reference, hush, predict
from dcube.cli_report import report
from dcube.cli_study import studies, study
from dcube.config import Data
from dcube.errors import DcubeError, one_line_errors
from dcube.params_file import load_params, load_preset, params_from, preset_names
from dcube.stages.paths import PARAMS, RAW

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dcube.data.inspection import Report
    from dcube.provenance import Provenance
    from dcube.registry import Event, Registry

OPTIONS = {"no_args_is_help": True, "add_completion": False, "pretty_exceptions_enable": False}

app = typer.Typer(help="From a folder of medical images to a diagnostic classifier.", **OPTIONS)  # type: ignore[arg-type]
data_app = typer.Typer(help="Bring raw images in, and look at them before anything is trained.", no_args_is_help=True)
params_app = typer.Typer(help="Choose, show and check the parameters (params.yaml).", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(params_app, name="params")
app.command()(predict)
app.command()(report)
app.command()(study)
app.command()(studies)

Name = Annotated[str, typer.Argument(help="Name of the data set: folder below data/ and task in the model registry.")]
Model = Annotated[
    str | None, typer.Argument(help="Registered model; without: dcube-NAME, with data.name of params.yaml.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; stands in the history.")]
Replace = Annotated[bool, typer.Option("--replace", help="Put it in the place of what stands there.")]


def main() -> None:
    """Entry point: what a user can mend ends in one line and exit code 2."""
    with one_line_errors():
        app()


@data_app.command("add")
def data_add(
    name: Name,
    path: Annotated[
        Path | None, typer.Argument(help="Folder, .npz, zip or tar. Without: the phantom, or a MedMNIST set by name.")
    ] = None,
    replace: Replace = False,
) -> None:
    """Copy a raw data set to data/NAME, check it, and version it with DVC (data.dvc)."""
    from dcube.data.adding import add

    report = add(_data_params(name), path, RAW / name, replace)
    _print_report(report)
    _version(RAW)
    preset = f"dcube params use {name}" if name in preset_names() else f"set data.name: {name} in params.yaml"
    print(f"\n{RAW / name} is in place and versioned in {RAW}.dvc. Next:\n  {preset}\n  dvc repro")


@data_app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help="A raw data set: a folder or an .npz.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Report classes, sizes, duplicates, patients, leakage and unusable files. Exit code 2: cannot be used as it is."""
    from dcube.data.inspection import inspect

    report = inspect(path, _data_params(path.stem, strict=False))
    if as_json:
        print(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
    else:
        _print_report(report)
    if report.problem:
        raise DcubeError(report.problem)


@data_app.command("find")
def data_find(
    path: Annotated[Path, typer.Argument(help="A raw data set: a folder or an .npz.")],
    pseudonyms: Annotated[list[str], typer.Argument(metavar="PSEUDONYM…", help="As manifests and errors name them.")],
) -> None:
    """Which files and patients go by these pseudonyms. Needs the salt of `prepare`; keep what it prints to yourself."""
    from dcube.data.privacy import find

    for name, records in find(path, _data_params(path.stem, strict=False), pseudonyms).items():
        for record in records:
            print(f"{name}  {record.file}  {record.patient}".rstrip())


@params_app.command("use")
def params_use(
    name: Annotated[str, typer.Argument(help="Name of a preset, see `dcube params list`.")], replace: Replace = False
) -> None:
    """Write params.yaml from a preset."""
    from dcube.engine.publish import write_durably

    text = load_preset(name).to_yaml()
    known = {load_preset(preset).to_yaml() for preset in preset_names()}
    if PARAMS.exists() and not replace and PARAMS.read_text(encoding="utf-8") not in known:
        raise DcubeError(f"{PARAMS} was edited and differs from every preset: keep a copy of it, then give --replace")
    write_durably(PARAMS, text.encode())
    print(f"{PARAMS} holds the preset {name}")


@params_app.command("list")
def params_list() -> None:
    """Names of the presets."""
    print("\n".join(preset_names()))


@params_app.command("show")
def params_show() -> None:
    """Every parameter with its value and meaning."""
    from rich.table import Table

    for group_name, group in load_params(PARAMS):
        table = Table("parameter", "value", "meaning", title=f"{group_name}: {type(group).__doc__}")
        for field, info in type(group).model_fields.items():
            table.add_row(field, str(getattr(group, field)), info.description)
        _print(table)


@params_app.command("check")
def params_check() -> None:
    """Whether params.yaml is valid."""
    load_params(PARAMS)
    print(f"{PARAMS} is valid")


@app.command()
def methods() -> None:
    """The published methods to compare with: values of baseline.method, and what they are trained with."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from dcube.classifier.methods.catalogue import METHODS

    table = Table("name", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True
    for column in ("optimiser", "rate", "decay", "epochs", "settings from"):
        table.add_column(column, overflow="fold")
    for it in METHODS.values():
        numbers = f"{it.learning_rate:g}", f"{it.weight_decay:g}", str(it.epochs)
        table.add_row(it.name, it.optimiser, *numbers, it.settings_from)
    _print(table)
    print("baseline.method is one of these, or the name of any network in timm.")


@app.command()
def results() -> None:
    """The table of all evaluated models."""
    from dcube.evaluation.report import print_results

    print_results()


@app.command()
def models(
    name: Model = None,
    history: Annotated[
        bool, typer.Option("--history", help="Instead: who became champion when, by whom, why.")
    ] = False,
) -> None:
    """The versions of a registered model, with aliases and figures as the registry shows them."""
    with _registry(name) as registry:
        from dcube.registry_tables import history_table, versions_table

        if not history:
            _print(versions_table(registry))
            return
        events = registry.history()
        _print(history_table(registry, events))
        if (champion := registry.aliases().get("champion")) != (events[-1].version if events else None):
            print(f"The alias champion was moved by other means: it is at version {champion or 'none'}.")


@app.command()
def promote(
    name: Model = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only compare: exit code 0 if it could be promoted.")] = False,
    reason: Reason = "",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Policy: key=value, any number of times.")] = None,
) -> None:
    """Compare the challenger with the champion, and make it champion. Exit code 1: it is not."""
    with _registry(name) as registry:
        from dcube.evaluation.promotion import policy_with
        from dcube.lineage import person
        from dcube.registry_tables import proposal_table

        proposal = registry.proposal(policy_with(settings or []))
        _print(proposal_table(proposal) if proposal.verdict.criteria else proposal.title)
        may = "may be promoted" if proposal.verdict.promoted else "is not promoted"
        print(f"Version {proposal.challenger.version} {may}: {proposal.verdict.reason}.")
        if not proposal.verdict.promoted:
            raise typer.Exit(1)
        if check:
            return
        if not yes and not typer.confirm("Make it champion?"):
            raise typer.Exit(1)
        _print_event(registry.name, registry.promote(proposal, person(), reason))


@app.command()
def rollback(
    reason: Reason,
    name: Model = None,
    to: Annotated[str | None, typer.Option("--to", help="A version, instead of the champion before this one.")] = None,
) -> None:
    """Make the previous champion champion again, without a comparison."""
    with _registry(name) as registry:
        from dcube.lineage import person

        _print_event(registry.name, registry.rollback(person(), reason, to))


@app.command()
def lineage(reference: Reference) -> None:
    """What made a registered version: runs, commit, parameters, data, machine. Exit code 1: something is missing."""
    with _origin(reference) as origin:
        from dcube.registry_tables import lineage_table

        _print(lineage_table(origin))
        print("\n".join(f"missing: {gap}" for gap in origin.gaps) or "Nothing is missing.")
        if origin.gaps:
            raise typer.Exit(1)


@app.command()
def reproduce(reference: Reference) -> None:
    """Make a registered version again in a working copy of its own, and compare. Exit code 1: it came out different."""
    with _origin(reference) as origin:
        from dcube.registry_tables import outcome_table
        from dcube.reproduction import reproduce

        outcome = reproduce(origin)
        _print(outcome_table(outcome))
        if not outcome.equal:
            print(f"It came out different. The working copy is kept: {outcome.folder}")
            raise typer.Exit(1)
        print("Equal: the same weights, byte for byte, and the same evaluation.")


@contextmanager
def _origin(reference: str) -> "Iterator[Provenance]":
    """The traced origin of `MODEL@ALIAS` or `MODEL/VERSION`."""
    from dcube.provenance import trace
    from dcube.registry import mlflow_errors_in_one_line, referenced
    from dcube.workspace import repository_around

    hush()
    with mlflow_errors_in_one_line():
        yield trace(*referenced(reference), repository_around(Path.cwd()))


def _print_event(name: str, event: "Event") -> None:
    instead = f" instead of version {event.replaced}" if event.replaced else ""
    print(f"Version {event.version} is the champion of {name} now{instead} ({event.how} by {event.who}).")


@contextmanager
def _registry(name: str | None) -> "Iterator[Registry]":
    """The registered model `name`, or the one of params.yaml."""
    from dcube.registry import Registry, mlflow_errors_in_one_line

    hush()
    with mlflow_errors_in_one_line():
        yield Registry.existing(name or f"dcube-{load_params(PARAMS).data.name}")


def _print(content: "RenderableType") -> None:
    from rich.console import Console

    Console(highlight=False).print(content)


def _data_params(name: str, strict: bool = True) -> Data:
    """As params.yaml, the preset of that name, or the defaults say; `strict` refuses an impossible name."""
    if PARAMS.exists() and (data := load_params(PARAMS).data).name == name:
        return data
    if name in preset_names():
        return load_preset(name).data
    return params_from({"data": {"name": name} if strict else {}}, where="NAME").data


def _version(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", str(folder)], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise DcubeError(f"{folder} is in place but was not versioned: {reason[0].removeprefix('ERROR: ')}")


def _print_report(report: "Report") -> None:
    from dcube.data.inspection import render

    _print(render(report))


if __name__ == "__main__":
    main()
