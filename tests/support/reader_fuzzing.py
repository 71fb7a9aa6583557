"""`python -m tests.support.reader_fuzzing CONTAINER COUNT FOLDER`: damaged files, and how their reader handles them.

A process of its own: a decoder that crashes takes it along, and its memory is measured. Every change follows from its
number alone. A call that takes longer than ten seconds ends the process with its traceback. The last line is JSON.
"""

import faulthandler
import io
import json
import os
import re
import resource
import shutil
import sys
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dcube.config.loading import params_from
from dcube.config.schema import Data
from dcube.data.adding import add_dataset
from dcube.data.checks.clinical import summarise_headers
from dcube.data.file_cache import FileCache
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.layouts.raw_files import visible_files
from dcube.data.readers.raw_image import UnusableImageError
from dcube.errors import DcubeError
from dcube.inference.inputs import collect_images
from tests.support import phantom_layouts
from tests.support.damage import damaged
from tests.support.medical_files import dicom_dataset, dicom_file, nifti_file, save_dicom
from tests.support.raw_sets import class_folders, medmnist_file, noise, save, with_metadata, write_metadata

ADDRESS_SPACE = 12 * 2**30  # stops a runaway before the machine does
MOST_SECONDS = 10


def png(folder: Path) -> None:
    colour = np.stack([noise(i, (24, 20)) for i in range(4)], axis=2)
    grey = Image.fromarray(noise(1, (24, 20)))
    images = {
        "grey": grey, "deep": Image.fromarray(noise(2, (24, 20)).astype(np.uint16) * 257), "bits": grey.convert("1"),
        "palette": grey.convert("P"), "alpha": Image.fromarray(colour), "colour": Image.fromarray(colour[:, :, :3]),
    }  # fmt: skip
    for name, image in images.items():
        (folder / name / "ill").mkdir(parents=True)
        image.save(folder / name / "ill" / "a.png", dpi=(72, 72))


def jpeg(folder: Path) -> None:
    colour = Image.fromarray(np.stack([noise(i, (48, 40)) for i in range(3)], axis=2))
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, image in {"grey": colour.convert("L"), "colour": colour, "cmyk": colour.convert("CMYK")}.items():
        for progressive in (False, True):
            file = folder / f"{name} {progressive}" / "ill" / "a.jpg"
            file.parent.mkdir(parents=True)
            image.save(file, progressive=progressive, exif=turned)


def tiff(folder: Path) -> None:
    deep = Image.fromarray(noise(1, (48, 40)).astype(np.uint16) * 257)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        for turn in (1, 6):
            file = folder / f"{compression} {turn}" / "ill" / "a.tif"
            file.parent.mkdir(parents=True)
            deep.save(file, compression=compression, tiffinfo={274: turn})


def other_pictures(folder: Path) -> None:
    for suffix in ("bmp", "pgm", "webp"):
        save(folder / suffix / "ill" / f"a.{suffix}", noise(1, (48, 40)))


def dicom(folder: Path) -> None:
    deep = noise(1, (64, 48)).astype(np.uint16) * 16
    colour = np.stack([noise(i, (64, 48)) for i in range(3)], axis=2)
    windowed = {"WindowCenter": 2000, "WindowWidth": 4000, "PixelSpacing": [1, 2], "PatientID": "17", "BitsStored": 12}
    kinds = {
        "ct": (deep, {"RescaleSlope": 1, "RescaleIntercept": -1024, **windowed}),
        "colour": (colour, {}),
        "frames": (np.stack([deep, deep[::-1]]), {"NumberOfFrames": 2, **windowed}),
    }
    for name, (pixels, tags) in kinds.items():
        save_dicom(folder / name / "ill" / "a.dcm", dicom_dataset(pixels, **tags))
        for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
            dataset = dicom_dataset(pixels, **tags)
            dataset.compress(syntax, generate_instance_uid=False)
            save_dicom(folder / f"{name} {syntax.keyword}" / "ill" / "a.dcm", dataset)


def nifti(folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (12, 10, 3)).astype(np.int16)
    for name in ("a.nii", "a.nii.gz"):
        nifti_file(folder / name / "ill" / name, values, "RPI", display=(0, 4096))


def npz(folder: Path) -> None:
    (folder / "set").mkdir(parents=True)
    medmnist_file(folder / "set" / "set.npz", images=2)


def csv(folder: Path) -> None:
    with_metadata(folder / "metadata", patients=2, images=1)
    class_folders(folder / "naming", images=2)
    (folder / "naming" / "table.csv").write_text("image,label\nill/00.png,ill\nill/01.png,ill\nwell/00.png,well\n")
    phantom_layouts.breast(folder / "labels", phantom_layouts.patients(1)[:1])


def xlsx(folder: Path) -> None:
    phantom_layouts.breast(folder / "set", phantom_layouts.patients(1)[:1], labels=False)


def pancreas(folder: Path) -> None:
    phantom_layouts.pancreas(folder / "set", phantom_layouts.patients(1))


def _members(folder: Path) -> dict[str, bytes]:
    """A small set of pictures, DICOM files and a table, by the path in an archive."""
    top = folder.with_name("packed") / "top"
    rows = []
    for i in range(3):
        dicom_file(top / "ill" / f"{i}.dcm", noise(i).astype(np.uint16), WindowCenter=128, WindowWidth=256)
        save(top / "well" / f"{i}.png", noise(9 + i))
        rows += [{"file": f"ill/{i}.dcm", "label": "ill"}, {"file": f"well/{i}.png", "label": "well"}]
    write_metadata(top, rows)
    files = sorted(file for file in top.rglob("*") if file.is_file())
    return {file.relative_to(top.parent).as_posix(): file.read_bytes() for file in files}


def zip_(folder: Path) -> None:
    methods = {"stored": zipfile.ZIP_STORED, "deflate": zipfile.ZIP_DEFLATED, "xz": zipfile.ZIP_LZMA}
    for name, method in methods.items():
        (folder / name).mkdir(parents=True)
        with zipfile.ZipFile(folder / name / "set.zip", "w", method) as archive:
            for member, content in _members(folder).items():
                archive.writestr(member, content)


def tar(folder: Path) -> None:
    formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
    for name, form in formats.items():
        outer = "" if name == "ustar" else f"{'long' * 40}/"  # a name that needs an extended header
        for packing in ("", "gz", "xz"):
            file = folder / f"{name} {packing}" / f"set.tar.{packing}"
            file.parent.mkdir(parents=True)
            with tarfile.open(file, f"w:{packing}", format=form) as archive:
                for member, content in _members(folder).items():
                    header = tarfile.TarInfo(outer + member)
                    header.size = len(content)
                    archive.addfile(header, io.BytesIO(content))


def read_set(folder: Path, data: Data, damaged: str) -> None:
    """What `dcube data check` and `prepare` ask of a reader: of a large set, the damaged file and some others."""
    source = read_raw_dataset(folder, data)
    for i, record in enumerate(source.records):
        if i < 8 or record.file.startswith(damaged or "none"):
            source.read(i)
    if source.is_medical:
        summarise_headers(folder, visible_files(folder), FileCache(None, b""))


def read_archive(folder: Path, data: Data, _: str) -> None:
    """What `dcube predict` and `dcube data add` ask of an archive."""
    archive = next(folder.glob("set.*"))
    with collect_images([archive]) as (images, _left_out):
        for image in images:
            image.read(None)
    added = folder.with_name("added")
    try:
        add_dataset(data, archive, added, replace=True)
    finally:
        assert not list(folder.parent.glob(".*")), "something half-written stayed"
        shutil.rmtree(added, ignore_errors=True)


@dataclass(frozen=True)
class Container:
    """How sets with such files are made, which of the files are damaged, and how they are read."""

    make: Callable[[Path], None]
    files: str
    read: Callable[[Path, Data, str], None] = read_set
    window: dict[str, float] = field(default_factory=dict)


CONTAINERS = {
    "dicom": Container(dicom, "*.dcm"), "nifti": Container(nifti, "*.nii*"), "png": Container(png, "*.png"),
    "jpeg": Container(jpeg, "*.jpg"), "tiff": Container(tiff, "*.tif"), "other": Container(other_pictures, "a.*"),
    "zip": Container(zip_, "*.zip", read_archive), "tar": Container(tar, "set.tar*", read_archive),
    "npz": Container(npz, "*.npz"), "csv": Container(csv, "*.csv"), "xlsx": Container(xlsx, "*.xlsx"),
    "pancreas": Container(pancreas, "*", window=phantom_layouts.WINDOW),
}  # fmt: skip


def main(name: str, count: int, folder: Path) -> None:
    container, sets = CONTAINERS[name], folder / "sets"
    container.make(sets)
    roots = sorted(sets.iterdir())
    own = {"name": "fuzzed", "image_size": 16, "diffusion_image_size": 16, **container.window}
    data = params_from({"data": own}, "fuzzing").data
    for root in roots:
        container.read(root, data, "")
    targets = [(root, file) for root in roots for file in sorted(root.rglob(container.files)) if file.is_file()]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        root, file = targets[number % len(targets)]
        generator = np.random.default_rng([number, sum(name.encode())])
        content = file.read_bytes()
        file.write_bytes(damaged(content, generator))
        os.utime(file, ns=(number, number))
        print(f"{number} {file.relative_to(sets)}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
        start = time.monotonic()
        try:
            container.read(root, data, file.relative_to(root).as_posix())
            outcomes["read"] += 1
        except (UnusableImageError, DcubeError) as error:
            assert "\n" not in str(error), "an error is one line"
            outcomes["refused"] += 1
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.monotonic() - start)
        file.write_bytes(content)
    print(json.dumps({**outcomes, "slowest_s": round(slowest, 2), "peak_mib": peak_mib()}))


def peak_mib() -> int:
    """The peak memory of this program alone: that of `getrusage` includes the process that started it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
