"""Every way of storing the same image gives the same pixels."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from dcube.data.preprocessing import to_square
from dcube.data.readers.images import read_array, read_file
from dcube.data.readers.raw_image import UnusableImageError
from tests.support.raw_sets import noise

GREY = noise(1, (20, 20))
RGB = np.stack([noise(1, (20, 20)), noise(2, (20, 20)), noise(3, (20, 20))], axis=2)


def pixels(file: Path, channels: int = 1, size: int = 20, fit: str = "stretch") -> np.ndarray:
    return to_square(read_file(file).image, size, channels, fit)  # type: ignore[arg-type]


def stored(tmp_path: Path, image: Image.Image, name: str = "a.png", **options) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.pgm", "A.TIFF"])
def test_lossless_grey_image_is_unchanged(tmp_path, name):
    assert np.array_equal(pixels(stored(tmp_path, Image.fromarray(GREY), name))[0], GREY)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_by_the_range_of_the_type(tmp_path, name):
    deep = GREY.astype(np.uint16) * 257
    assert np.array_equal(pixels(stored(tmp_path, Image.fromarray(deep), name))[0], GREY)


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path):
    assert pixels(stored(tmp_path, Image.fromarray(GREY.astype(np.uint16)))).max() <= 1


def test_floats_between_0_and_1_are_scaled_to_bytes(tmp_path):
    assert np.array_equal(pixels(stored(tmp_path, Image.fromarray((GREY / 255).astype(np.float32)), "a.tif"))[0], GREY)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_tiff_of_every_number_type_is_scaled_by_its_range(tmp_path, dtype, order):
    values = GREY / 510 if dtype.startswith("f") else GREY // 2
    full = {"f": 1, "i1": 255}.get(dtype[0] if dtype[0] == "f" else dtype, 65_535)
    tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype), byteorder=order, photometric="minisblack")
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), values.astype(dtype))
    assert np.allclose(np.asarray(read_file(tmp_path / "a.tif").image), values / full * 255, atol=1e-3)


def test_values_outside_the_known_range_are_refused_with_a_hint(tmp_path):
    for values in (
        GREY.astype(np.uint32) * 2**24,
        GREY.astype(np.int32) * 2**20,
        GREY.astype(np.int16) - 1000,
        GREY * 1.0,
    ):
        tifffile.imwrite(tmp_path / "a.tif", values)
        with pytest.raises(UnusableImageError, match=r"pixel values .* outside 0….*: scale them to 8 or 16 bits, or"):
            read_file(tmp_path / "a.tif")


def test_colour_image_is_read_in_colour_and_in_grey(tmp_path):
    file = stored(tmp_path, Image.fromarray(RGB))
    assert np.array_equal(pixels(file, channels=3), RGB.transpose(2, 0, 1))
    assert np.array_equal(pixels(file)[0], np.asarray(Image.fromarray(RGB).convert("L")))


def test_grey_image_fills_three_channels(tmp_path):
    assert (pixels(stored(tmp_path, Image.fromarray(GREY)), channels=3) == GREY).all()


def test_palette_image_is_read(tmp_path):
    image = Image.fromarray(GREY // 16).convert("P")
    image.putpalette([value for i in range(16) for value in (17 * i,) * 3])
    assert np.array_equal(pixels(stored(tmp_path, image))[0], GREY // 16 * 17)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_become_black(tmp_path, mode):
    image = Image.fromarray(GREY).convert(mode)
    alpha = np.zeros_like(GREY)
    alpha[:, :10] = 255
    image.putalpha(Image.fromarray(alpha))
    assert np.array_equal(pixels(stored(tmp_path, image))[0], np.where(alpha, GREY, 0))


def test_one_bit_image_becomes_black_and_white(tmp_path):
    bits = Image.fromarray(GREY).point(lambda value: 255 * (value > 127), "1")
    assert np.array_equal(pixels(stored(tmp_path, bits))[0], np.where(GREY > 127, 255, 0))


def test_cmyk_image_is_read_in_three_channels(tmp_path):
    assert pixels(stored(tmp_path, Image.fromarray(RGB).convert("CMYK"), "a.tif"), channels=3).shape == (3, 20, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    half = np.zeros((20, 30), np.uint8)
    half[:10] = 200
    upright = Image.fromarray(half)
    turned = {
        1: upright, 2: upright.transpose(0), 3: upright.transpose(3), 4: upright.transpose(1),
        5: upright.transpose(5), 6: upright.transpose(2), 7: upright.transpose(6), 8: upright.transpose(4),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(read_file(stored(tmp_path, turned, exif=exif)).image), half)


UPRIGHT = noise(1, (20, 30))


def test_import_of_the_reader_changes_nothing_in_pillow() -> None:
    code = (
        "from PIL.TiffImagePlugin import OPEN_INFO; before = dict(OPEN_INFO); import dcube.data.readers.images; "
        "assert before == OPEN_INFO"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stderr == b""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_rotated_tiff_is_turned_upright_as_by_pillow(tmp_path, compression, dtype):
    full = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    deep = (UPRIGHT / 255 * full).astype(dtype)
    for orientation in range(1, 9):
        tag = (ExifTags.Base.Orientation, "H", 1, orientation, True)
        tifffile.imwrite(tmp_path / "a.tif", deep, compression=compression, photometric="minisblack", extratags=[tag])
        reference = ImageOps.exif_transpose(Image.open(io.BytesIO((tmp_path / "a.tif").read_bytes())))
        ours = np.asarray(read_file(tmp_path / "a.tif").image)
        assert ours.shape == ((30, 20) if orientation > 4 else (20, 30))
        assert np.allclose(ours, np.asarray(reference) / full * 255, atol=1e-3), orientation


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_rotated_image_is_turned_upright(tmp_path, suffix):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        file = stored(tmp_path, Image.fromarray(RGB[:, :12]), f"a.{suffix}", exif=exif)
        reference = ImageOps.exif_transpose(Image.open(io.BytesIO(file.read_bytes())))
        assert np.array_equal(np.asarray(read_file(file).image), np.asarray(reference)), orientation


@pytest.mark.parametrize(("compression", "order"), [(None, "<"), ("lzw", "<"), (None, ">")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_tiff_whose_zero_is_white_is_inverted(tmp_path, dtype, compression, order):
    full = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    deep = (UPRIGHT / 255 * full).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", deep, compression=compression, photometric="miniswhite", byteorder=order)
    assert np.allclose(np.asarray(read_file(tmp_path / "a.tif").image), 255 - UPRIGHT.astype(float), atol=1e-3)


def test_a_tiff_of_12_bits_is_scaled_by_12_bits(tmp_path):
    values = np.linspace(0, 4095, 20 * 30).astype(np.uint16).reshape(20, 30)
    tifffile.imwrite(tmp_path / "a.tif", values, bitspersample=12, photometric="minisblack")
    assert np.allclose(np.asarray(read_file(tmp_path / "a.tif").image), values / 4095 * 255, atol=1e-3)


def test_wide_image_is_cropped_padded_or_stretched():
    wide = np.zeros((20, 40), np.uint8)
    wide[:, 10:30] = 200
    image = Image.fromarray(wide)
    assert (to_square(image, 20, 1, "crop") == 200).all()
    padded = to_square(image, 40, 1, "pad")[0]
    assert (padded[:9] == 0).all() and (padded[31:] == 0).all() and padded[20, 20] == 200
    assert to_square(image, 20, 1, "stretch")[0, :, 0].max() == 0


def test_downscaling_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    assert np.abs(to_square(Image.fromarray(stripes), 8, 1, "stretch").astype(int) - 127).max() <= 8


@settings(max_examples=60)
@given(
    width=st.integers(8, 90), height=st.integers(8, 90), size=st.integers(8, 64), channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["crop", "pad", "stretch"]), colour=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
)  # fmt: skip
def test_any_array_becomes_a_square_of_bytes(width, height, size, channels, fit, colour, dtype):
    values = np.random.default_rng(0).random((height, width, 3) if colour else (height, width))
    values = (values * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype)
    square = to_square(read_array(values).image, size, channels, fit)
    assert square.shape == (channels, size, size) and square.dtype == np.uint8


def _text(file: Path) -> None:
    file.write_text("not an image")


def _half(file: Path) -> None:
    Image.fromarray(noise(0, (64, 64))).save(file)
    file.write_bytes(file.read_bytes()[:2000])


def _nan(file: Path) -> None:
    values = np.random.default_rng(0).random((20, 20), dtype=np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(file, format="TIFF")


def _animation(file: Path) -> None:
    frames = [Image.fromarray(noise(i)) for i in range(2)]
    frames[0].save(file, format="TIFF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda file: file.touch(), "empty file"),
        (_text, "not a readable image"),
        (_half, "not a readable image"),
        (_nan, "NaN"),
        (_animation, "several images"),
        (lambda file: Image.new("L", (20, 20), 7).save(file), "constant"),
        (lambda file: Image.new("RGB", (20, 20), (1, 2, 3)).save(file), "constant"),
        (lambda file: Image.new("L", (1, 1)).save(file), "1 × 1"),
        (lambda file: Image.new("1", (20_000, 20_000)).save(file), "more pixels than DCUBE_MAX_MEGAPIXELS=64"),
        (lambda file: Image.new("L", (20_000, 20)).save(file), "20000 × 20"),
        (lambda file: Image.fromarray(np.full((20, 20), 300.0, np.float32)).save(file, format="TIFF"), "outside 0…1"),
    ],
)
def test_unusable_image_is_refused_with_the_reason(tmp_path, make, why):
    make(tmp_path / "a.png")
    with pytest.raises(UnusableImageError, match=why):
        read_file(tmp_path / "a.png")
