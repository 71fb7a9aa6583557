"""Adding a raw data set below `data/`: it is checked first, and either added completely or not at all."""

import hashlib
import shutil
import tempfile
from dataclasses import replace as replace_fields
from pathlib import Path

from dcube.artifacts.atomic import atomic_folder
from dcube.config.schema import Data
from dcube.data.inspection import InspectionReport, inspect_dataset
from dcube.data.layouts.phantom import PHANTOM, write_phantom
from dcube.data.layouts.raw_files import RawFiles, inner_folder, is_debris
from dcube.data.readers.archives import unpack
from dcube.data.readers.walking import refuse_special, regular_files
from dcube.errors import DcubeError

EMBEDDED = Path(__file__).parent / "embedded"
ATTRIBUTION = "ATTRIBUTION.md"


def is_embedded(name: str) -> bool:
    """Return whether `add_dataset` can add this data set without a path and without network access."""
    return name == PHANTOM or (EMBEDDED / f"{name}.npz").exists()


def add_dataset(data: Data, path: Path | None, folder: Path, replace: bool = False) -> InspectionReport:
    """Copy, unpack, draw or download the raw data set `data.name` into `folder`.

    Args:
        path: a folder, an `.npz`, a zip or a tar; None takes an embedded set, or downloads a MedMNIST set by its name.
        folder: the destination. It may already contain the same data set.
        replace: whether other content in `folder` is replaced.

    Raises:
        DcubeError: if the archive is unsafe, if `prepare` would refuse the data set, or if `folder` has other content
            and `replace` is false, or if `data.name` is the name of an embedded set and the images are others.
    """
    if path is not None and data.name == PHANTOM:
        raise DcubeError(f"the name {PHANTOM!r} is reserved for the invented data set: choose another, or give no PATH")
    if path is not None:
        refuse_special(path)
    with atomic_folder(folder) as incoming:
        _fill(incoming, data.name, path)
        report = _inspect_as(path or folder, incoming, data)
        if report.problem:
            raise DcubeError(f"{data.name} was not added: {report.problem}")
        if path is not None and is_embedded(data.name) and _sizes(report) != _sizes(_embedded_report(data)):
            raise DcubeError(
                f"the name {data.name!r} is reserved for the set that comes with D-Cube, and {path} has other images: "
                "choose another"
            )
        if folder.exists() and not replace and digest(folder) != digest(incoming):
            raise DcubeError(f"{folder} holds other content: choose another name, or give --replace")
    return report


def _embedded_report(data: Data) -> InspectionReport:
    return inspect_dataset(EMBEDDED / f"{data.name}.npz", Data(name=data.name))


def _sizes(report: InspectionReport) -> dict[str, list[int]]:
    """Return split → sorted numbers of images of the classes, which are the same at any size of the images."""
    return {split: sorted(of_class.values()) for split, of_class in report.counts.items()}


def digest(folder: Path) -> str:
    """Return the sha256 (hexadecimal) of the names and bytes of all files below `folder`."""
    total = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        with file.open("rb") as content:
            total.update(file.relative_to(folder).as_posix().encode("utf-8", "surrogateescape") + b"\0")
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def _fill(folder: Path, name: str, path: Path | None) -> None:
    if path is None and name == PHANTOM:
        write_phantom(folder)
    elif path is None and is_embedded(name):
        for file in (f"{name}.npz", ATTRIBUTION):
            shutil.copyfile(EMBEDDED / file, folder / file)
    elif path is None:
        from dcube.data.layouts.medmnist import download

        download(name, folder)
    elif path.is_dir():
        regular_files(path, is_debris)  # raises for files that cannot be copied
        shutil.copytree(path, folder, dirs_exist_ok=True, ignore=_debris)
    elif path.suffix.lower() == ".npz":
        shutil.copyfile(path, folder / path.name)
    else:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as unpacked:
            unpack(path, Path(unpacked))
            for entry in list(inner_folder(Path(unpacked)).iterdir()):
                entry.rename(folder / entry.name)


def _debris(_: str, names: list[str]) -> list[str]:
    return [name for name in names if is_debris(name)]


def _inspect_as(shown: Path, folder: Path, data: Data) -> InspectionReport:
    """Inspect `folder`, but name it `shown` in the report and in errors."""
    try:
        report = inspect_dataset(folder, data)
        debris = RawFiles(shown).debris if shown.is_dir() else {}  # `folder` is a copy without them
        return replace_fields(report, path=str(shown), left_out={**debris, **report.left_out})
    except DcubeError as error:
        copied = str(folder / shown.name)  # an `.npz` is copied into `folder`
        raise DcubeError(str(error).replace(copied, str(shown)).replace(str(folder), str(shown))) from None
