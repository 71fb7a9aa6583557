"""Detection of the layout of a raw data set. A layout is one module of `layouts/` and one line in `LAYOUTS`."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from dcube.artifacts.atomic import set_aside
from dcube.config.guessed import is_guessed
from dcube.config.schema import Data
from dcube.data.group_checks import describe_few_patients
from dcube.data.grouping import group_images
from dcube.data.grouping_errors import SubgroupError
from dcube.data.layouts import (
    breast_mri,
    class_folders,
    medmnist,
    metadata,
    pancreas_ct,
    radiography,
    split_folders,
)
from dcube.data.layouts.doubtful_names import describe_doubtful_names
from dcube.data.layouts.masks import numbered_beginnings
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.layouts.raw_files import RawFiles, describe_left_out, inner_folder, visible_files
from dcube.data.layouts.spelling import one_spelling, refuse_confused
from dcube.data.readers.stored_images import KINDS, split_name
from dcube.data.subgroups import refuse_unfit
from dcube.errors import DcubeError

NOT_USED, BESIDE = "not used by this layout", "beside the folder of the images"


class Layout(Protocol):
    """The functions that the module of a layout provides."""

    def recognises(self, raw: RawFiles, /) -> bool:
        """Return whether the files have this layout, as far as this is known without decoding images."""

    def read_layout(self, raw: RawFiles, data: Data, /) -> RawDataset:
        """List the images without decoding them; raise `DcubeError` that names a file or folder that does not fit."""


LAYOUTS: tuple[Layout, ...] = (  # the first that recognises the files reads them
    radiography,
    breast_mri,
    pancreas_ct,
    medmnist,
    metadata,
    split_folders,
    class_folders,
)


def refuse_missing_set(path: Path) -> None:
    """Raise `DcubeError` if there is no raw data set at `path`; the message names no file in it."""
    if path in set_aside(path.parent):
        raise DcubeError(f"{path} is missing: an interrupted `dcube data add` set it aside, `dcube doctor` restores it")
    if not path.exists():
        raise DcubeError(f"{path} is missing: add a data set there with `dcube data add NAME PATH`")


def read_raw_dataset(path: Path, data: Data) -> RawDataset:
    """Recognise the layout of a raw data set and list its images without decoding them.

    Raises:
        DcubeError: if a file or folder fits no layout; the message names it.
        GroupingError: if a parameter that groups images does not fit; the message names no file.
    """
    if path.is_file() and path.suffix.lower() != ".npz":
        raise DcubeError(
            f"{path} is neither a folder nor a MedMNIST .npz: give one of these (`dcube data add` unpacks zip and tar)"
        )
    refuse_missing_set(path)
    raw = RawFiles(inner_folder(path))
    beside = [] if raw.path == path else [file for file in visible_files(path) if raw.path not in (path / file).parents]
    layout = next((layout for layout in LAYOUTS if layout.recognises(raw)), None)
    if data.patients != "all" and layout is not breast_mri:
        raise DcubeError(
            f"data.patients: {data.patients} is for Duke Breast Cancer MRI, and {path} is none: set it to all"
        )
    if layout is None:
        others = describe_left_out(raw.left_out(set()))
        raise DcubeError(f"{path} contains no images{others}: put {', '.join(KINDS)} into class folders, or one .npz")
    dataset = layout.read_layout(raw, data)
    if not dataset.records:
        others = describe_left_out(dataset.left_out)
        raise DcubeError(f"{path} contains no images{others}: {dataset.layout} with nothing in it")
    spelt = cache(one_spelling)
    records = [replace(one, label=spelt(one.label), patient=spelt(one.patient)) for one in dataset.records]
    names = [record.file for record in records] if dataset.has_paths else []
    formats = tuple(map(_format_of, names))
    dataset = replace(dataset, records=records, beginnings=partial(numbered_beginnings, names), formats=formats)
    refuse_confused(records, str(raw.path))
    dataset = replace(dataset, doubtful_names=(*describe_doubtful_names(records), *_few_patients(dataset, data)))
    left_out = {**raw.debris, **dataset.left_out, NOT_USED: dataset.ignored, BESIDE: beside}
    dataset = replace(dataset, left_out={why: tuple(files) for why, files in left_out.items() if files})
    if data.window_center is not None and not dataset.is_medical:
        raise DcubeError(
            f"data.window_center is for DICOM and NIfTI, and {path} holds plain images: set both values to null"
        )
    if data.subgroups and not dataset.subgroups:
        raise SubgroupError("data.subgroups names columns of metadata.csv, and this set has none: set it to []")
    refuse_unfit(dataset)
    return group_images(dataset, data.group_by) if data.group_by else dataset


def _few_patients(dataset: RawDataset, data: Data) -> list[str]:
    """Return `describe_few_patients`, unless the set names patients or splits, or a person has set groups."""
    records = dataset.records
    chosen = data.group_by and not is_guessed(data.group_by)
    if chosen or not dataset.has_paths or any(record.patient or record.split for record in records):
        return []
    return describe_few_patients([record.file for record in records], [record.label for record in records])


def _format_of(file: str) -> str:
    """Return the suffix of a file, also for one of its frames or slices (`file#number`), in one spelling."""
    suffix = PurePosixPath(split_name(file)[0]).suffix.lower().removeprefix(".")
    return {"jpeg": "jpg", "tiff": "tif"}.get(suffix, suffix)
