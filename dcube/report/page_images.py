"""Images of a page, made from Matplotlib figures or from data-set images as the models see them, pixel by pixel."""

import base64
import io
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from dcube.report.parts import PageImage

DPI = 130
COLOURS = 64  # colours of a figure: enough for lines, text and their smoothed edges
GAP = 2  # pixels between the images of a grid
COLUMNS = 4
STRONGEST = 0.6  # largest opacity of a heatmap
LARGEST = 192  # largest side of one image in a page, in pixels


def plot_image(figure: Figure, alt: str, caption: str) -> PageImage:
    """Return a Matplotlib figure as an image of the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return stored_plot_image(buffer, alt, caption)


def stored_plot_image(file: Path | io.BytesIO, alt: str, caption: str) -> PageImage:
    """Return a saved figure as an image of the page, with fewer colours to reduce its size."""
    with Image.open(file) as figure:
        few_colours = figure.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    return _picture(few_colours, alt, caption, plot=True)


def pixel_image(image: np.ndarray, alt: str, caption: str) -> PageImage:
    """Return one image, (C, S, S) uint8, grey or colour."""
    return _picture(_thumbnail(image), alt, caption, plot=False)


def image_with_heatmap(image: np.ndarray, heatmap: np.ndarray, alt: str, caption: str) -> PageImage:
    """Return one image (C, S, S) beside a copy with a heatmap of any size on top: red is positive, blue negative."""
    plain = _thumbnail(image).convert("RGB")
    reach = max(float(np.abs(heatmap).max()), 1e-6)
    share = Image.fromarray((heatmap / reach).astype(np.float32)).resize(plain.size, Image.Resampling.BILINEAR)
    values = np.asarray(share)
    colours = Image.fromarray((colormaps["RdBu_r"](values / 2 + 0.5)[..., :3] * 255).astype(np.uint8))
    strength = Image.fromarray((np.abs(values).clip(0, 1) * STRONGEST * 255).astype(np.uint8))
    whole = Image.new("RGBA", (2 * plain.width + GAP, plain.height))
    whole.paste(plain, (0, 0))
    whole.paste(Image.composite(colours, plain, strength), (plain.width + GAP, 0))
    return _picture(whole, alt, caption, plot=False)


def image_grid(images: np.ndarray, alt: str, caption: str) -> PageImage:
    """Return several images (n, C, S, S), uint8, in rows of four with transparent gaps."""
    tiles = [_thumbnail(image).convert("LA" if len(image) == 1 else "RGBA") for image in images]
    side, columns = tiles[0].width, min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    whole = Image.new(tiles[0].mode, (columns * (side + GAP) - GAP, rows * (side + GAP) - GAP))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        whole.paste(tile, (column * (side + GAP), row * (side + GAP)))
    return _picture(whole, alt, caption, plot=False)


def _thumbnail(image: np.ndarray) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0).squeeze()))
    picture.thumbnail((LARGEST, LARGEST))
    return picture


def _picture(image: Image.Image, alt: str, caption: str, plot: bool) -> PageImage:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return PageImage(source, alt, caption, image.width, image.height, plot)
