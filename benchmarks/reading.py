"""Images read and made square a second: the readers of `prepare` on all cores, against a plain loop over one library.

The loop decodes, windows and resizes with the same filter on one core, and checks nothing.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless
from scipy.ndimage import gaussian_filter

from benchmarks.measure import Result, Setting, Timing, interleaved, speed
from dcube.config.schema import Data
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.scan import scan_images

IMAGES, SIDE, SMALL = 64, 512, 256
CENTER, WIDTH = 40.0, 400.0
Write = Callable[[Path, np.ndarray], None]
Loop = Callable[[Path], None]


def benchmark(setting: Setting) -> list[Result]:
    remark = f"checked and checksummed, {os.cpu_count()} cores"
    results = []
    for name, (write, plain) in KINDS.items():
        windowed = {} if name == "PNG" else {"window_center": CENTER, "window_width": WIDTH}
        timing = _timed(write, plain, Data(image_size=SMALL, **windowed), setting.repeats)
        results.append(speed(f"read {name}", f"{SIDE} → {SMALL} px", "images", (IMAGES, IMAGES), timing, remark=remark))
    return results


def _timed(write: Write, plain: Loop, data: Data, repeats: int) -> Timing:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        write(raw / "tissue", _slices())
        return interleaved(
            lambda: plain(raw / "tissue"),
            lambda: scan_images(read_raw_dataset(raw, data), data),
            repeats,
            clock=time.perf_counter,  # several threads against one
        )


def _slices() -> np.ndarray:
    """(n, side, side) smooth tissue with noise, in Hounsfield units."""
    generator = np.random.default_rng(0)
    smooth = gaussian_filter(generator.standard_normal((IMAGES, SIDE, SIDE)), (0, 12, 12)) * 4000
    return (smooth + generator.normal(0, 10, smooth.shape)).clip(-1000, 2000).astype(np.int16)


def _write_png(folder: Path, slices: np.ndarray) -> None:
    folder.mkdir()
    for number, pixels in enumerate(slices):
        Image.fromarray(_window(pixels)).save(folder / f"{number:03d}.png")


def _write_dicom(folder: Path, slices: np.ndarray, syntax: str = ExplicitVRLittleEndian) -> None:
    folder.mkdir()
    for number, pixels in enumerate(slices):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CTImageStorage, f"1.2.{number + 1}", "CT"
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *pixels.shape, 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PhotometricInterpretation, dataset.RescaleSlope, dataset.RescaleIntercept = "MONOCHROME2", 1, 0
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        if syntax != ExplicitVRLittleEndian:
            dataset.compress(syntax, generate_instance_uid=False)
        pydicom.dcmwrite(folder / f"{number:03d}.dcm", dataset, enforce_file_format=True)


def _write_jpeg_2000(folder: Path, slices: np.ndarray) -> None:
    _write_dicom(folder, slices, JPEG2000Lossless)


def _write_nifti(folder: Path, slices: np.ndarray) -> None:
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(slices.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0])), folder / "a.nii.gz")


def _plain_png(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        _shrunk(np.asarray(Image.open(file)))


def _plain_dicom(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(file)
        _shrunk(_window(dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept))


def _plain_nifti(folder: Path) -> None:
    volume = nibabel.Nifti1Image.from_filename(folder / "a.nii.gz").get_fdata()
    for number in range(volume.shape[2]):
        _shrunk(_window(volume[:, :, number].T))


def _window(values: np.ndarray) -> np.ndarray:
    return (np.clip((values - CENTER) / WIDTH + 0.5, 0, 1) * 255).astype(np.uint8)


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((SMALL, SMALL), Image.Resampling.BICUBIC))


KINDS: dict[str, tuple[Write, Loop]] = {
    "PNG": (_write_png, _plain_png),
    "DICOM": (_write_dicom, _plain_dicom),
    "DICOM, JPEG 2000": (_write_jpeg_2000, _plain_dicom),
    "NIfTI, gzip": (_write_nifti, _plain_nifti),
}
