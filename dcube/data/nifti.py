"""NIfTI volumes → axial slices, shown as the same patient's DICOM slices would be."""

from dataclasses import dataclass
from pathlib import Path

from dcube.data.reading import RawImage
from dcube.data.windows import Window

SUFFIXES = (".nii", ".nii.gz")


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
            UnusableImageError: where the slice cannot be shown rightly, saying why.
        """
        raise NotImplementedError


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def open_volume(path: Path) -> Volume:
    """Read the header.

    Raises:
        UnusableImageError: for anything that is no whole volume of a known orientation near the body's axes.
    """
    raise NotImplementedError
