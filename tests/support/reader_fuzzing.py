"""`python -m tests.support.reader_fuzzing KIND COUNT FOLDER`: damaged files, and what their reader makes of them.

A process of its own: a decoder that crashes takes it along, and its memory is measured. Ends with one line of JSON.
"""

import gzip
import io
import json
import os
import re
import resource
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dcube.config.loading import params_from
from dcube.config.schema import Data
from dcube.data.checks.clinical import summarise_headers
from dcube.data.layouts.detection import read_raw_dataset
from dcube.data.layouts.raw_files import visible_files
from dcube.data.readers.raw_image import UnusableImageError
from dcube.errors import DcubeError
from tests.support import phantom_layouts
from tests.support.medical_files import dicom_dataset, nifti_file, save_dicom
from tests.support.raw_sets import medmnist_file, noise, with_metadata

ADDRESS_SPACE = 12 * 2**30  # stops a runaway before the machine does
HEAD = 1024  # bytes at the start of a file that decide how the rest is read
EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\x01\0\0\0"]


def pictures(folder: Path) -> None:
    grey = noise(1, (48, 40))
    for suffix in ("png", "jpg", "bmp", "tif", "pgm", "webp"):
        (folder / suffix / "ill").mkdir(parents=True)
        Image.fromarray(grey).save(folder / suffix / "ill" / f"a.{suffix}")
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        (folder / compression / "ill").mkdir(parents=True)
        deep.save(folder / compression / "ill" / "a.tif", compression=compression)


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


def medmnist(folder: Path) -> None:
    (folder / "set").mkdir(parents=True)
    medmnist_file(folder / "set" / "set.npz", images=2)


def metadata(folder: Path) -> None:
    with_metadata(folder / "set", patients=2, images=1)


def radiography(folder: Path) -> None:
    phantom_layouts.radiography(folder / "set", phantom_layouts.patients(1))


def breast(folder: Path) -> None:
    phantom_layouts.breast(folder / "set", phantom_layouts.patients(1))


def pancreas(folder: Path) -> None:
    phantom_layouts.pancreas(folder / "set", phantom_layouts.patients(1))


KINDS = {make.__name__: make for make in (pictures, dicom, nifti, medmnist, metadata, radiography, breast, pancreas)}


def exercise(folder: Path, data: Data, damaged: str = "") -> None:
    """What `dcube data check` and `prepare` ask of a reader: of a large set, the damaged file and some others."""
    source = read_raw_dataset(folder, data)
    for i, record in enumerate(source.records):
        if i < 8 or record.file.startswith(damaged or "none"):
            source.read(i)
    if source.is_medical:
        summarise_headers(folder, visible_files(folder))


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """One or a few changes; of packed files as often to what is inside."""
    if generator.random() < 0.5:
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(damaged(gzip.decompress(content), generator), 1)
        if content[:2] == b"PK":
            return _damaged_member(content, generator)
    changed = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        size = len(changed)
        if size == 0:
            break
        start = int(generator.integers(min(size, HEAD) if generator.random() < 0.6 else size))
        length = int(generator.integers(1, 64))
        match generator.integers(6):
            case 0:
                changed[start] ^= 1 << int(generator.integers(8))
            case 1:
                changed[start : start + 4] = EXTREMES[generator.integers(len(EXTREMES))]
            case 2:
                changed[start : start + length] = generator.bytes(length)
            case 3:
                del changed[start : start + length]
            case 4:
                changed[start:start] = changed[start : start + length]
            case _:
                del changed[start:]
    return bytes(changed)


def _damaged_member(content: bytes, generator: np.random.Generator) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        victim = old.namelist()[generator.integers(len(old.namelist()))]
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, damaged(member, generator) if name == victim else member)
    return packed.getvalue()


def main(kind: str, count: int, folder: Path) -> None:
    KINDS[kind](folder)
    roots = sorted(folder.iterdir())
    window = phantom_layouts.WINDOW if kind == "pancreas" else {}
    data = params_from({"data": {"image_size": 16, "diffusion_image_size": 16, **window}}, "fuzzing").data
    for root in roots:
        exercise(root, data)
    targets = [(root, file) for root in roots for file in sorted(root.rglob("*")) if file.is_file()]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        root, file = targets[number % len(targets)]
        generator = np.random.default_rng([number, sum(kind.encode())])
        content = file.read_bytes()
        file.write_bytes(damaged(content, generator))
        os.utime(file, ns=(number, number))
        print(f"{number} {file.relative_to(folder)}", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            exercise(root, data, file.relative_to(root).as_posix())
            outcomes["read"] += 1
        except (UnusableImageError, DcubeError) as error:
            assert "\n" not in str(error), "an error is one line"
            outcomes["refused"] += 1
        slowest = max(slowest, time.monotonic() - start)
        file.write_bytes(content)
    print(json.dumps({**outcomes, "slowest_s": round(slowest, 2), "peak_mib": peak_mib()}))


def peak_mib() -> int:
    """Of this program alone: what `getrusage` says has that of the process that started it among it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
