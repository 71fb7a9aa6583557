"""Decoding of NIfTI volumes into axial slices, oriented like the DICOM slices of the same patient."""

import logging
import math
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from nibabel import affines, orientations
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.openers import ImageOpener
from PIL import Image

from dcube.data.readers.limits import limits
from dcube.data.readers.raw_image import (
    RawImage,
    UnusableImageError,
    check_frames,
    check_size,
    decoding,
    square_pixels,
)
from dcube.data.readers.windows import Window

SUFFIXES = (".nii", ".nii.gz")
LPS = orientations.axcodes2ornt(("L", "P", "S"))
DEFLATE_RATIO = 1032  # largest possible compression ratio of deflate
FREE_TEXT = ("descrip", "db_name", "aux_file", "intent_name")
MOST_EXTENSIONS = 2**24  # bytes of header extensions
LARGEST_ANGLE = 20.0  # degrees between the stored axes and the body's


@dataclass(frozen=True)
class Volume:
    """A volume whose slices are numbered from the feet to the head.

    Attributes:
        slices: number of axial slices.
        spacing: voxel size in millimetres along the axes to the patient's left, back and head.
    """

    path: Path
    slices: int
    spacing: tuple[float, float, float]

    def slice(self, number: int, window: Window | None = None) -> RawImage:
        """Decode an axial slice, mode `F` (0…255), with the patient's right on the left and the front at the top.

        Args:
            number: index of the slice, from 0.
            window: None uses the file's display range (cal_min, cal_max), or 0…255 for uint8 without one.

        Raises:
            UnusableImageError: if the slice cannot be displayed correctly; the message says why.
        """
        if not 0 <= number < self.slices:
            raise UnusableImageError(f"there is no slice {number}: it has {self.slices}")
        with decoding("NIfTI file"):
            loaded = _load(self.path)
            values = loaded.stored[:, :, number].T.astype(np.float32)
            values = values * np.float32(loaded.slope) + np.float32(loaded.intercept)
            if not np.isfinite(values).all():
                raise UnusableImageError("NaN or infinite values")
            window = window or loaded.window
            if window is None:
                raise UnusableImageError("no display range: set data.window_center and data.window_width")
            image = square_pixels(Image.fromarray(window.apply(values)), (self.spacing[1], self.spacing[0]))
            return RawImage.checked(image, f"NIfTI {loaded.stored.dtype.name}", multi_frame=self.slices > 1)


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def open_volume(path: Path) -> Volume:
    """Read the header of a volume.

    Raises:
        UnusableImageError: if the file is not a complete volume with a known orientation close to the body's axes.
    """
    with decoding("NIfTI file"):
        header = _header(path)
        axes = _axes(header)
        sizes = np.array(header.get_data_shape()[:3])[axes]
        spacing = affines.voxel_sizes(header.get_best_affine())[axes]
        check_size(int(sizes[0]), int(sizes[1]))
        check_frames(int(sizes[2]))
        return Volume(path, int(sizes[2]), (float(spacing[0]), float(spacing[1]), float(spacing[2])))


def load_array(path: Path) -> np.ndarray:
    """Read a label map: the scaled values (left, back, head), oriented as in `Volume.slice`."""
    with decoding("NIfTI file"):
        loaded = _load(path)
        if (loaded.slope, loaded.intercept) == (1, 0):
            return loaded.stored
        return loaded.stored * loaded.slope + loaded.intercept


def load_stored(path: Path) -> np.ndarray:
    """Read the stored values in the file's own order of axes, for label maps whose header gives no orientation."""
    with decoding("NIfTI file"):
        return _stored(path, _header(path))[0]


def free_text(path: Path) -> list[str]:
    """Return the names of filled free-text fields of the header, which may name people (for the file's owner only)."""
    with decoding("NIfTI file"):
        header = _header(path)
        with ImageOpener(str(path)) as file:
            extended = file.read(header.sizeof_hdr + 4)[header.sizeof_hdr :].startswith(b"\1")
        return [name for name in FREE_TEXT if name in header and header[name].item()] + ["extensions"] * extended


@dataclass(frozen=True)
class _Loaded:
    """Stored values, reoriented so that the axes run to the patient's left, back and head."""

    stored: np.ndarray
    slope: float
    intercept: float
    window: Window | None


_loading = Lock()


def _load(path: Path) -> _Loaded:
    """Return a volume; one thread unpacks it, and threads that need other slices wait."""
    with _loading:
        loaded = _load_once(path, path.stat().st_mtime_ns)
    if isinstance(loaded, UnusableImageError):
        raise loaded
    return loaded


@lru_cache(maxsize=2)
def _load_once(path: Path, changed: int) -> _Loaded | UnusableImageError:
    """Return the volume or the error; errors are cached too, so that a damaged volume is unpacked only once."""
    try:
        with decoding("NIfTI file"):
            header = _header(path)
            stored, proxy = _stored(path, header)
            turn = orientations.ornt_transform(orientations.io_orientation(header.get_best_affine()), LPS)
            turned = orientations.apply_orientation(stored, turn)
            return _Loaded(turned, proxy.slope, proxy.inter, _own_window(header, stored.dtype))
    except UnusableImageError as error:
        return error


def _stored(path: Path, header: Nifti1Header) -> tuple[np.ndarray, ArrayProxy]:
    """Return the stored values (three-dimensional) and nibabel's proxy, which has their scale."""
    proxy = (Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image).from_filename(path).dataobj
    assert isinstance(proxy, ArrayProxy)
    return np.asarray(proxy.get_unscaled()).reshape(header.get_data_shape()[:3]), proxy


def _own_window(header: Nifti1Header, dtype: np.dtype) -> Window | None:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    if math.isfinite(high - low) and high > low:
        return Window((low + high) / 2, high - low)
    return Window(127.5, 255.0) if dtype == np.uint8 else None


@cache
def _silence_nibabel() -> None:
    """Silence nibabel, because its log lines quote the file's content."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)


def _header(path: Path) -> Nifti1Header:
    """Read the header and check it, so that reading the volume cannot take more memory than the limit."""
    _silence_nibabel()
    with ImageOpener(str(path)) as file:
        start = file.read(Nifti2Header.template_dtype.itemsize)
    kind = Nifti2Header if Nifti2Header.template_dtype.itemsize in _sizes(start) else Nifti1Header
    header = kind(start[: kind.template_dtype.itemsize])
    if not bytes(header["magic"]).startswith(b"n+"):
        raise UnusableImageError("not a NIfTI of one file (header and data in two files are not supported)")
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or any(size > 1 for size in shape[3:]):
        raise UnusableImageError(f"{' × '.join(map(str, shape))} values: a volume has three dimensions")
    if dtype.kind not in "iuf":
        raise UnusableImageError(f"{dtype.name}: volumes must have one value per voxel")
    stored, offset = math.prod(shape) * dtype.itemsize, header["vox_offset"]
    if stored > 2**20 * (limit := limits().max_volume_mib):
        raise UnusableImageError(f"{stored / 2**20:.0f} MiB unpacked, more than DCUBE_MAX_VOLUME_MIB={limit}")
    if not 0 <= offset <= MOST_EXTENSIONS:
        raise UnusableImageError("more header extensions than are read")
    if stored > path.stat().st_size * (1 if path.suffix.lower() == ".nii" else DEFLATE_RATIO):
        raise UnusableImageError("cut off: fewer voxels than the header says")
    return header


def _sizes(start: bytes) -> tuple[int, int]:
    """Return the first number of the file, the size of the header, in both byte orders."""
    return int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")


def _axes(header: Nifti1Header) -> np.ndarray:
    """Return the stored axes (3,) that run left–right, front–back and feet–head."""
    if not header["sform_code"] and not header["qform_code"]:
        raise UnusableImageError("the file does not say how the patient is oriented (no qform, no sform)")
    affine = header.get_best_affine()
    lengths = affines.voxel_sizes(affine)
    if not np.isfinite(affine).all() or lengths.min() <= 0:
        raise UnusableImageError("an invalid orientation matrix")
    axes = np.argsort(orientations.io_orientation(affine)[:, 0])
    straight = np.abs(affine[[0, 1, 2], axes]) / lengths[axes]
    angle = math.degrees(math.acos(min(1.0, straight.min())))
    if angle > LARGEST_ANGLE:
        raise UnusableImageError(
            f"oblique by {angle:.0f}°, more than {LARGEST_ANGLE:.0f}°: resample it along the body's axes"
        )
    return axes
