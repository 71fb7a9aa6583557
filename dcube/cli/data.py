"""`dcube data`: bring raw images in, and look at them before anything is trained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.artifacts.layout import PARAMS, RAW
from dcube.cli.terminal import Replace, print_rich
from dcube.config.loading import load_params, load_preset, params_from, preset_names
from dcube.config.schema import Data
from dcube.errors import DcubeError

if TYPE_CHECKING:
    from dcube.data.checks.inspection import Report

app = typer.Typer(help="Bring raw images in, and look at them before anything is trained.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the data set: folder below data/ and task in the model registry.")]


@app.command("add")
def data_add(
    name: Name,
    path: Annotated[
        Path | None, typer.Argument(help="Folder, .npz, zip or tar. Without: the phantom, or a MedMNIST set by name.")
    ] = None,
    replace: Replace = False,
) -> None:
    """Copy a raw data set to data/NAME, check it, and version it with DVC (data.dvc)."""
    from dcube.data.adding import add
    from dcube.repository.data_record import add_data

    report = add(_data_params(name), path, RAW / name, replace)
    _print_report(report)
    add_data(RAW)
    preset = f"dcube params use {name}" if name in preset_names() else f"set data.name: {name} in params.yaml"
    print(f"\n{RAW / name} is in place and versioned in {RAW}.dvc. Next:\n  {preset}\n  dvc repro")


@app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help="A raw data set: a folder or an .npz.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Report classes, sizes, duplicates, patients, leakage and unusable files. Exit code 2: cannot be used as it is."""
    from dcube.data.checks.inspection import inspect

    report = inspect(path, _data_params(path.stem, strict=False))
    if as_json:
        print(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
    else:
        _print_report(report)
    if report.problem:
        raise DcubeError(report.problem)


@app.command("find")
def data_find(
    path: Annotated[Path, typer.Argument(help="A raw data set: a folder or an .npz.")],
    pseudonyms: Annotated[list[str], typer.Argument(metavar="PSEUDONYM…", help="As manifests and errors name them.")],
) -> None:
    """Which files and patients go by these pseudonyms. Needs the salt of `prepare`; keep what it prints to yourself."""
    from dcube.data.checks.privacy import find

    for name, records in find(path, _data_params(path.stem, strict=False), pseudonyms).items():
        for record in records:
            print(f"{name}  {record.file}  {record.patient}".rstrip())


def _data_params(name: str, strict: bool = True) -> Data:
    """As params.yaml, the preset of that name, or the defaults say; `strict` refuses an impossible name."""
    if PARAMS.exists() and (data := load_params(PARAMS).data).name == name:
        return data
    if name in preset_names():
        return load_preset(name).data
    return params_from({"data": {"name": name} if strict else {}}, where="NAME").data


def _print_report(report: "Report") -> None:
    from dcube.data.checks.inspection import render

    print_rich(render(report))
