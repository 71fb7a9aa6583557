"""The command `dcube`. Heavy imports stand inside the commands, so that help appears at once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.config import Data, load_params, load_preset, params_from, preset_names
from dcube.errors import DcubeError, one_line_errors
from dcube.stages.paths import PARAMS, RAW

if TYPE_CHECKING:
    from dcube.data.inspection import Report

OPTIONS = {"no_args_is_help": True, "add_completion": False, "pretty_exceptions_enable": False}

app = typer.Typer(help="From a folder of medical images to a diagnostic classifier.", **OPTIONS)  # type: ignore[arg-type]
data_app = typer.Typer(help="Bring raw images in, and look at them before anything is trained.", no_args_is_help=True)
params_app = typer.Typer(help="Choose, show and check the parameters (params.yaml).", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(params_app, name="params")

Name = Annotated[str, typer.Argument(help="Name of the data set: folder below data/ and task in the model registry.")]
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
    from rich.console import Console
    from rich.table import Table

    for group_name, group in load_params(PARAMS):
        table = Table("parameter", "value", "meaning", title=f"{group_name}: {type(group).__doc__}")
        for field, info in type(group).model_fields.items():
            table.add_row(field, str(getattr(group, field)), info.description)
        Console().print(table)


@params_app.command("check")
def params_check() -> None:
    """Whether params.yaml is valid."""
    load_params(PARAMS)
    print(f"{PARAMS} is valid")


@app.command()
def results() -> None:
    """The table of all evaluated models."""
    from dcube.evaluation.report import print_results

    print_results()


def _data_params(name: str, strict: bool = True) -> Data:
    """How the preset of that name prepares the images, else the defaults; `strict` refuses an impossible name."""
    if name in preset_names():
        return load_preset(name).data
    return params_from({"data": {"name": name} if strict else {}}, where="NAME").data


def _version(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", str(folder)], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise DcubeError(f"{folder} is in place but was not versioned: {reason[0].removeprefix('ERROR: ')}")


def _print_report(report: "Report") -> None:
    from rich.console import Console

    from dcube.data.inspection import render

    Console().print(render(report))


if __name__ == "__main__":
    main()
