"""Windowing: conversion of stored values into grey values 0…255."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dcube.artifacts.schemas.dataset import InputSpec
from dcube.config.schema import Data

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True)
class Window:
    """The range of values from black to white, in the output units of the modality LUT (CT: Hounsfield units).

    Attributes:
        center, width: centre and width of the range.
        function: DICOM PS3.3 C.11.2.1.2 and .3. `LINEAR_EXACT` maps center − width / 2 to black and center + width / 2
            to white.
    """

    center: float
    width: float
    function: Function = "LINEAR_EXACT"

    @property
    def valid(self) -> bool:
        """Whether the window is finite and as wide as its function allows; a linear one of width 1 is a threshold."""
        is_wide = self.width >= 1 if self.function == "LINEAR" else self.width > 0
        return bool(np.isfinite([self.center, self.width]).all()) and is_wide

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Map values to float32 in 0…255 of the same shape."""
        center, width = self.center, self.width
        if self.function == "LINEAR":  # the default formula, PS3.3 C.11.2.1.2.1
            center, width = center - 0.5, width - 1
        shown = values.astype(np.float32)
        shown -= np.float32(center)
        if self.function == "SIGMOID":
            return np.float32(255) / (1 + np.exp(np.clip(shown * np.float32(-4 / width), -80, 80)))
        if width == 0:
            return np.where(shown > 0, np.float32(255), np.float32(0))
        shown *= np.float32(255 / width)
        shown += np.float32(127.5)
        return np.clip(shown, 0, 255, out=shown)


def window_of(spec: Data | InputSpec) -> Window | None:
    """Return the window of the parameters or of a trained model; None means each file's own window."""
    center, width = spec.window_center, spec.window_width
    return None if center is None or width is None else Window(center, width)
