"""NIfTI volumes → axial slices, shown as the same patient's DICOM slices would be."""

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
DEFLATE_RATIO = 1032  # no deflated stream unpacks to more
FREE_TEXT = ("descrip", "db_name", "aux_file", "intent_name")
MOST_EXTENSIONS = 2**24  # bytes of header extensions
LARGEST_ANGLE = 20.0  # degrees between the stored axes and the body's


@dataclass(frozen=True)
class Volume:
    """A volume; slices count from the feet to the head.

    Attributes:
        spacing: millimetres to the left, to the back, to the head.
    """

    path: Path
    slices: int
    spacing: tuple[float, float, float]

    def slice(self, number: int, window: Window | None = None) -> RawImage:
        """An axial slice, mode `F` (0…255): the patient's right is on the left, the front at the top.

        Args:
            window: None takes the display range that the file names (cal_min, cal_max).

        Raises:
            UnusableImageError: where the slice cannot be displayed correctly, saying why.
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
    """Read the header.

    Raises:
        UnusableImageError: for anything that is not a whole volume of a known orientation near the body's axes.
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
    """(left, back, head) stored values scaled, in the order of `Volume.slice`: for label maps."""
    with decoding("NIfTI file"):
        loaded = _load(path)
        if (loaded.slope, loaded.intercept) == (1, 0):
            return loaded.stored
        return loaded.stored * loaded.slope + loaded.intercept


def load_stored(path: Path) -> np.ndarray:
    """Stored values in the file's own order of axes: for label maps whose headers do not tell their orientation."""
    with decoding("NIfTI file"):
        return _stored(path, _header(path))[0]


def free_text(path: Path) -> list[str]:
    """The header fields with free text, which may name people, that are filled. For the owner of the file alone."""
    with decoding("NIfTI file"):
        header = _header(path)
        with ImageOpener(str(path)) as file:
            extended = file.read(header.sizeof_hdr + 4)[header.sizeof_hdr :].startswith(b"\1")
        return [name for name in FREE_TEXT if name in header and header[name].item()] + ["extensions"] * extended


@dataclass(frozen=True)
class _Loaded:
    """Values as stored, turned so that axes run to the patient's left, back and head."""

    stored: np.ndarray
    slope: float
    intercept: float
    window: Window | None


_loading = Lock()


def _load(path: Path) -> _Loaded:
    """One thread unpacks a volume; those that read its other slices wait for it."""
    with _loading:
        loaded = _load_once(path, path.stat().st_mtime_ns)
    if isinstance(loaded, UnusableImageError):
        raise loaded
    return loaded


@lru_cache(maxsize=2)
def _load_once(path: Path, changed: int) -> _Loaded | UnusableImageError:
    """A failure is an outcome too: a damaged volume is unpacked once, and not once a slice."""
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
    """Three-dimensional values, and what knows their scale."""
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
    """Its log lines quote the file's content."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)


def _header(path: Path) -> Nifti1Header:
    """The header, checked so that reading the volume takes no more memory than stated."""
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
    """The first number, the header's size, in either byte order."""
    return int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")


def _axes(header: Nifti1Header) -> np.ndarray:
    """Which stored axis runs left–right, front–back, feet–head."""
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
