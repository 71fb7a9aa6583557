"""The phantom: abdominal-CT-like slices of invented patients, byte for byte the same on every machine.

It shows that the software runs, and proves nothing about medicine. For reproducibility, pixels are computed only with
operations that IEEE 754 defines exactly (+ − × ÷ √, comparisons) and with the raw 64-bit output of PCG64, which NumPy
guarantees not to change. Coordinates run from −1 to 1 over the slice, x to the right, y down.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcube.engine.progress import progress

PHANTOM = "phantom"
SIDE = 96
SLICES = 4
PATIENTS = {"benign": 25, "malignant": 25, "normal": 100, "": 30}  # the paper's 1:1:4, and some without a label
UNLABELLED_KINDS = ("benign", "malignant", "normal", "normal", "normal", "normal")
SEED = 20_240_229

README = """Invented images. No patient, no scanner and no hospital stands behind them.

The shapes in these pictures were drawn by a program (D-Cube's phantom) to show that D-Cube runs.
Nothing that a model reaches on them says anything about medicine.
"""


class PatientRng:
    """Random number generator of one patient."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence((SEED, *key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(self.field(1)[0])

    def field(self, *shape: int) -> np.ndarray:
        """Return float64 random numbers of the given shape, uniform in [0, 1)."""
        raw = self._bits.random_raw(int(np.prod(shape)))
        return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53


@dataclass(frozen=True)
class Lesion:
    """Position, size and visibility of a lesion.

    Attributes:
        along: position on the midline of the pancreas, from 0 (head) to 1 (tail).
        radius: in slice coordinates.
        contrast: difference to the grey value of the pancreas.
        wobble: coefficients of the outline (`Canvas.blob`).
        duct: contrast of the duct as a share of `contrast`; only malignant lesions have one.
    """

    along: float
    radius: float
    contrast: float
    wobble: tuple[float, float, float, float]
    duct: float


class Patient:
    """One invented anatomy; `slice` draws any level of it."""

    def __init__(self, number: int, kind: str) -> None:
        rng = PatientRng(number)
        self.number, self.kind = number, kind
        self.width, self.depth = rng.uniform(0.78, 0.93), rng.uniform(0.56, 0.72)
        self.fat = rng.uniform(0.05, 0.13)
        self.shift = rng.uniform(-0.04, 0.04)
        self.liver = rng.uniform(0.26, 0.36)
        self.enhancement = rng.uniform(-12.0, 12.0)
        self.noise = rng.uniform(9.0, 18.0)
        self.band = [(-0.26, 0.08), (-0.05, rng.uniform(-0.16, -0.04)), (0.36, rng.uniform(-0.16, 0.0))]
        self.thickness = rng.uniform(0.055, 0.085)
        self.loops = [
            (rng.uniform(-0.45, 0.5), rng.uniform(-0.42, -0.22), rng.uniform(0.06, 0.13), rng.uniform(55.0, 175.0))
            for _ in range(5)
        ]
        malignant = kind == "malignant"
        self.lesion = Lesion(
            along=rng.uniform(0.12, 0.7),
            radius=rng.uniform(0.065, 0.15),
            contrast=rng.uniform(16.0, 54.0),
            wobble=(rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3)),
            duct=rng.uniform(0.35, 1.0) if malignant else 0.0,
        )

    def on_band(self, along: float) -> tuple[float, float]:
        """Return the point (x, y) on the quadratic midline of the pancreas; `along` is 0 at the head, 1 at the tail."""
        a, b, c = (1 - along) * (1 - along), 2 * along * (1 - along), along * along
        (x0, y0), (x1, y1), (x2, y2) = self.band
        return a * x0 + b * x1 + c * x2 + self.shift, a * y0 + b * y1 + c * y2

    def slice(self, level: int) -> np.ndarray:
        """Draw a level as (SIDE, SIDE) uint8; the levels 0…SLICES − 1 run through the lesion."""
        rng = PatientRng(self.number, 1 + level)
        canvas = Canvas()
        height = (level + 0.5) / SLICES * 2 - 1
        self._draw_body(canvas, height)
        self._draw_organs(canvas, height, rng)
        self._draw_pancreas(canvas)
        if self.kind != "normal":
            self._draw_lesion(canvas, 1 - 0.45 * height * height, rng)
        return canvas.develop(self.noise, rng)

    def _draw_body(self, canvas: "Canvas", height: float) -> None:
        width, depth = self.width - 0.03 * height, self.depth - 0.03 * height
        canvas.ellipse(self.shift, 0.0, width, depth, 62)
        canvas.ellipse(self.shift, 0.0, width - self.fat, depth - self.fat, 118)
        canvas.ellipse(self.shift, -0.02, width - self.fat - 0.06, depth - self.fat - 0.06, 76)
        canvas.ellipse(self.shift - 0.16, 0.40, 0.13, 0.12, 112)
        canvas.ellipse(self.shift + 0.16, 0.40, 0.13, 0.12, 112)
        canvas.ellipse(self.shift, 0.32, 0.12, 0.10, 205)
        canvas.ellipse(self.shift, 0.46, 0.045, 0.04, 105)

    def _draw_organs(self, canvas: "Canvas", height: float, rng: PatientRng) -> None:
        x, bright = self.shift, self.enhancement
        grown = 1 - 0.18 * height
        canvas.ellipse(x - 0.42, -0.08, self.liver * grown, 0.34 * grown, 142 + bright)
        canvas.ellipse(x - 0.40 + rng.uniform(-0.05, 0.05), -0.05, 0.03, 0.05, 168 + bright)
        canvas.ellipse(x + 0.52, 0.06, 0.13 * grown, 0.2 * grown, 150 + bright)
        for side in (-1, 1):
            canvas.ellipse(x + side * 0.36, 0.27, 0.11, 0.13, 168 + bright)
            canvas.ellipse(x + side * 0.33, 0.27, 0.04, 0.06, 95)
        for place_x, place_y, radius, value in self.loops:
            wander = rng.uniform(-0.03, 0.03)
            canvas.ellipse(x + place_x + wander, place_y, radius + 0.015, radius + 0.01, 130)
            canvas.ellipse(x + place_x + wander, place_y, radius - 0.015, radius - 0.02, value)
        canvas.ellipse(x + 0.03, 0.17, 0.055, 0.055, 180 + bright)
        canvas.ellipse(x - 0.10, 0.17, 0.06, 0.045, 165 + bright)

    def _draw_pancreas(self, canvas: "Canvas") -> None:
        for step in range(13):
            x, y = self.on_band(step / 12)
            thick = self.thickness * (1.25 - 0.04 * step)
            canvas.ellipse(x, y, thick, thick, 128 + 0.6 * self.enhancement)

    def _draw_lesion(self, canvas: "Canvas", grown: float, rng: PatientRng) -> None:
        lesion = self.lesion
        x, y = self.on_band(lesion.along)
        x, y = x + rng.uniform(-0.012, 0.012), y + rng.uniform(-0.012, 0.012)
        radius = lesion.radius * grown
        value = 128 - lesion.contrast
        if self.kind == "benign":
            canvas.ellipse(x, y, radius + 0.025, radius + 0.025, 128 + 0.55 * lesion.contrast)
            canvas.ellipse(x, y, radius, radius, value)
            return
        for step in range(int(12 * lesion.along) + 1, 13):
            duct_x, duct_y = self.on_band(step / 12)
            canvas.ellipse(duct_x, duct_y, 0.03, 0.022, 128 - lesion.duct * lesion.contrast)
        canvas.blob(x, y, radius * 1.1, value, lesion.wobble, softness=0.045)


class Canvas:
    """Grey values on which shapes with soft edges are painted one over another."""

    def __init__(self) -> None:
        line = (2.0 * np.arange(SIDE) + 1.0) / SIDE - 1.0
        self.x, self.y = line[None, :], line[:, None]
        self.grey = np.full((SIDE, SIDE), 6.0)

    def ellipse(self, x: float, y: float, width: float, height: float, value: float) -> None:
        u, v = (self.x - x) / width, (self.y - y) / height
        self._paint((1.0 - np.sqrt(u * u + v * v)) * min(width, height), value, 0.02)

    def blob(self, x: float, y: float, radius: float, value: float, wobble: tuple[float, ...], softness: float) -> None:
        """Paint a disc whose radius varies with cosine and sine of 2 and 3 times the angle, computed as polynomials."""
        u, v = self.x - x, self.y - y
        distance = np.sqrt(u * u + v * v) + 1e-9
        u, v = u / distance, v / distance
        outline = 1.0 + wobble[0] * (u * u - v * v) + wobble[1] * (2.0 * u * v)
        outline = outline + wobble[2] * u * (u * u - 3.0 * v * v) + wobble[3] * v * (3.0 * u * u - v * v)
        self._paint(radius * outline - distance, value, softness)

    def develop(self, noise: float, rng: PatientRng) -> np.ndarray:
        """Add fine and coarse noise and return the image as uint8."""
        fine = rng.field(SIDE, SIDE) + rng.field(SIDE, SIDE) + rng.field(SIDE, SIDE) - 1.5
        coarse = _smooth(_smooth(rng.field(SIDE, SIDE) - 0.5))
        return np.floor(np.clip(self.grey + noise * fine + 3.0 * noise * coarse, 0.0, 255.0)).astype(np.uint8)

    def _paint(self, inside: np.ndarray, value: float, softness: float) -> None:
        """Blend a shape into the image; `inside` is each pixel's distance to the outline, positive inside."""
        t = np.clip(inside / softness + 0.5, 0.0, 1.0)
        weight = t * t * (3.0 - 2.0 * t)
        self.grey = self.grey * (1.0 - weight) + value * weight


def _smooth(field: np.ndarray) -> np.ndarray:
    """Return the mean over 3 × 3 neighbours with wrapped edges; the order of the sums is fixed."""
    rows = (np.roll(field, 1, 0) + field + np.roll(field, -1, 0)) / 3.0
    return (np.roll(rows, 1, 1) + rows + np.roll(rows, -1, 1)) / 3.0


def write_phantom(folder: Path) -> None:
    """Write the raw data set: class folders, metadata, README. PGM has no compression, so bytes never differ."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(README, encoding="utf-8")
    labels = [label for label, patients in PATIENTS.items() for _ in range(patients)]
    rows = [("file", "label", "patient_id")]
    with progress("Drawing the phantom", total=len(labels), unit="patients") as advance:
        for number, label in enumerate(labels):
            patient = Patient(number, label or UNLABELLED_KINDS[number % len(UNLABELLED_KINDS)])
            for level in range(SLICES):
                file = f"{label or 'unlabelled'}/phantom{number:03d}-{level}.pgm"
                _write_pgm(folder / file, patient.slice(level))
                rows.append((file, label, f"phantom{number:03d}"))
            advance()
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file_:
        csv.writer(file_, lineterminator="\n").writerows(rows)


def _write_pgm(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(f"P5\n{SIDE} {SIDE}\n255\n".encode() + pixels.tobytes())
