"""Stored values → grey values 0…255: what a radiologist's window does."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dcube.artifacts.schemas.dataset import InputSpec
from dcube.config.schema import Data

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True)
class Window:
    """The values from black to white, in the units that the modality LUT ends in (CT: Hounsfield units).

    Attributes:
        function: DICOM PS3.3 C.11.2.1.2 and .3. `LINEAR_EXACT` makes center ± width / 2 black and white.
    """

    center: float
    width: float
    function: Function = "LINEAR_EXACT"

    @property
    def valid(self) -> bool:
        """Whether it shows more than black and white."""
        return bool(np.isfinite([self.center, self.width]).all()) and self.width > (self.function == "LINEAR")

    def apply(self, values: np.ndarray) -> np.ndarray:
        """float32 in 0…255, of the same shape."""
        center, width = self.center, self.width
        if self.function == "LINEAR":  # both ends are whole values
            center, width = center - 0.5, width - 1
        shown = values.astype(np.float32)
        shown -= np.float32(center)
        if self.function == "SIGMOID":
            return np.float32(255) / (1 + np.exp(np.clip(shown * np.float32(-4 / width), -80, 80)))
        shown *= np.float32(255 / width)
        shown += np.float32(127.5)
        return np.clip(shown, 0, 255, out=shown)


def window_of(spec: Data | InputSpec) -> Window | None:
    """The window that the parameters ask for, or that a model was trained with; None: each file's own."""
    center, width = spec.window_center, spec.window_width
    return None if center is None or width is None else Window(center, width)
