"""`dcube data`: add raw images, and check them before anything is trained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.artifacts.layout import DATA_RECORD, PARAMS, RAW
from dcube.cli.terminal import print_rich
from dcube.config.loading import load_params, load_preset, params_from, preset_names
from dcube.config.schema import Data
from dcube.data.readers.walking import given_path, refuse_special
from dcube.errors import DcubeError

if TYPE_CHECKING:
    from dcube.data.inspection import InspectionReport

app = typer.Typer(help="Add raw images, and check them before anything is trained.", no_args_is_help=True)

ADDING = Path(".dcube/adding.lock")
Name = Annotated[str, typer.Argument(help="Name of the data set: folder below data/ and task in the model registry.")]

RawPath = Annotated[
    Path, typer.Argument(help="A raw data set: a folder or an .npz.", metavar="PATH", parser=given_path)
]


@app.command("add")
def data_add(
    name: Name,
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder, .npz, zip or tar. Without a path, NAME is breastmnist, phantom, or another MedMNIST set.",
            metavar="PATH",
            parser=given_path,
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the data set that is in data/NAME.")] = False,
) -> None:
    """Copy a raw data set to data/NAME, check it, and version it with DVC (data.dvc)."""
    _refuse_missing(path)
    data = _data_params(name)
    from filelock import FileLock

    from dcube.data.adding import add_dataset
    from dcube.repository.data_record import add_data

    ADDING.parent.mkdir(exist_ok=True)
    with FileLock(ADDING):  # a second command waits
        report = add_dataset(data, path, RAW / name, replace)
        _print_report(report)
        add_data(RAW)
    preset = f"dcube params use {name}" if name in preset_names() else f"dcube plan {name} --minutes 30"
    print(f"\n{RAW / name} is in place and versioned in {RAW}.dvc. Next:\n  {preset}\n  dvc repro")


@app.command("push")
def data_push() -> None:
    """Upload the raw data that data.dvc records to the bucket (DCUBE_STORAGE), where workers find them."""
    from dcube.repository.commands import repository_around, uncommitted_files
    from dcube.repository.data_remote import push_raw_data

    repository = repository_around(Path.cwd())
    pushed = push_raw_data(repository)
    print(f"{pushed} objects were copied to the bucket" if pushed else "The bucket had them all already")
    if uncommitted_files(repository, DATA_RECORD):
        print(f"Next: commit {DATA_RECORD}, because runs use the last commit")


@app.command("check")
def data_check(
    path: RawPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Report classes, sizes, duplicates, patients, leaks and unusable files. Exit code 2: `prepare` would refuse it."""
    _refuse_missing(path)
    from dcube.data.inspection import inspect_dataset

    report = inspect_dataset(path, _data_params(path.stem, strict=False))
    if as_json:
        print(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
    else:
        _print_report(report)
    if report.problem:
        raise DcubeError(report.problem)


@app.command("find")
def data_find(
    path: RawPath,
    pseudonyms: Annotated[
        list[str], typer.Argument(metavar="PSEUDONYM", help="As they appear in manifests and error messages.")
    ],
) -> None:
    """Print the files and patients behind pseudonyms. Needs the salt of `prepare`; the output identifies people."""
    from dcube.data.privacy import find_pseudonyms

    for name, records in find_pseudonyms(path, _data_params(path.stem, strict=False), pseudonyms).items():
        for record in records:
            print(f"{name}  {record.file}  {record.patient}".rstrip())


def _refuse_missing(path: Path | None) -> None:
    """Refuse a missing or special file before the slow imports."""
    if path is not None:
        refuse_special(path)


def _data_params(name: str, strict: bool = True) -> Data:
    """Return the data parameters from params.yaml, the preset `name` or the defaults; `strict` checks the name."""
    if PARAMS.exists() and (data := load_params(PARAMS).data).name == name:
        return data
    if name in preset_names():
        return load_preset(name).data
    return params_from({"data": {"name": name} if strict else {}}, where="NAME").data


def _print_report(report: "InspectionReport") -> None:
    from dcube.cli.data_tables import inspection_tables

    print_rich(inspection_tables(report))
