"""Images that decoders show wrongly: damaged JPEG, signed or transparent samples, unusual TIFF."""

import io
import re
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from dcube.data.readers.dicom import read_frame
from dcube.data.readers.images import read_file
from dcube.data.readers.raw_image import UnusableImageError
from tests.support.medical_files import dicom_dataset, save_dicom
from tests.support.raw_sets import noise

CHANGES = {
    "the last three quarters zeroed": lambda data: data[: len(data) // 4] + bytes(len(data) - len(data) // 4),
    "cut, with an end appended": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "zeroed, with an end appended": lambda data: data[: len(data) // 4] + bytes(len(data) // 2) + b"\xff\xd9",
    "a hole": lambda data: data[: len(data) // 2] + bytes(600) + data[len(data) // 2 + 600 :],
    "without its end": lambda data: data[:-2],
}
OPTIONS = ({}, {"optimize": True}, {"restart_marker_rows": 1}, {"subsampling": 0, "quality": 60})


def smooth(size: int = 200, colour: bool = True) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (20, 25, 3) if colour else (20, 25), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", **options)
    return content.getvalue()


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(UnusableImageError) as error:
        read_file(path)
    return str(error.value)


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_jpeg_with_missing_image_data_is_refused(tmp_path, change, options, colour):
    """Pillow shows some of these half grey, without an error."""
    content = CHANGES[change](jpeg(smooth(colour=colour), **options))
    assert any(word in refused(tmp_path / "a.jpg", content) for word in ("damaged", "not a readable image"))


def marker_places(data: bytes, marker: bytes) -> list[int]:
    return [found.start() for found in re.finditer(re.escape(marker), data)]


@pytest.mark.parametrize("end", [b"", b"\xff\xd9", b"\xff\xd9" + bytes(30)], ids=["no end", "end", "padded end"])
@pytest.mark.parametrize("colour", [True, False])
def test_progressive_jpeg_with_missing_scans_is_refused(tmp_path, colour, end):
    """Pillow shows such a file blurred. Its header contains scan and end markers too, as that of a thumbnail does."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "\0\xff\xda\xff\xd9".encode("latin-1")
    whole = jpeg(smooth(colour=colour), progressive=True, exif=exif)
    scans = marker_places(whole, b"\xff\xda")[1:]  # the first one is in the header
    assert len(scans) == (10 if colour else 6)
    tables = marker_places(whole, b"\xff\xc4")
    for before, scan in pairwise(scans):
        cut = next((place for place in tables if before < place < scan), scan)
        why = refused(tmp_path / "a.jpg", whole[:cut] + end)
        assert why.startswith("damaged or cut off: a JPEG without " + ("some of its scans" if end else "its end"))
    (tmp_path / "a.jpg").write_bytes(whole)
    read_file(tmp_path / "a.jpg")


def test_jpeg_with_one_scan_per_colour_needs_all_three(tmp_path):
    """With one or two scans, Pillow shows it in grey or false colours. The scans come from three one-channel JPEGs."""
    channels = [jpeg(channel, quality=90) for channel in smooth().convert("YCbCr").split()]
    header, scans = channels[0], []
    frame, start = header.index(b"\xff\xc0"), header.index(b"\xff\xda")
    three = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 200, 200, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    for number, channel in enumerate(channels, 1):
        place = channel.index(b"\xff\xda")
        scans.append(channel[place : place + 5] + bytes([number]) + channel[place + 6 : -2])
    after = frame + 2 + int.from_bytes(header[frame + 2 : frame + 4])
    beginning = header[:frame] + three + header[after:start]
    (tmp_path / "a.jpg").write_bytes(beginning + b"".join(scans) + b"\xff\xd9")
    assert np.abs(np.asarray(read_file(tmp_path / "a.jpg").image).astype(int) - np.asarray(smooth())).mean() < 3
    for count in (1, 2):
        content = beginning + b"".join(scans[:count]) + b"\xff\xd9"
        with Image.open(io.BytesIO(content)) as shown:
            shown.load()
        assert "some of its scans" in refused(tmp_path / "a.jpg", content)


def test_jpeg_with_too_many_scans_is_refused(tmp_path):
    """Each scan takes as long as the whole image: a file of 100 kB took minutes."""
    whole = jpeg(smooth(colour=False), progressive=True)
    last = whole[whole.rindex(b"\xff\xc4") : -2]
    assert "a JPEG of 106 scans, more than 100" in refused(tmp_path / "a.jpg", whole[:-2] + 100 * last + b"\xff\xd9")


@pytest.mark.parametrize("options", [*OPTIONS, {"progressive": True}], ids=str)
@pytest.mark.parametrize("kind", ["smooth", "ends in grey", "black", "trailing bytes", "cmyk", "fill bytes"])
def test_intact_jpeg_has_the_same_pixels_as_in_pillow(tmp_path, kind, options):
    image = smooth()
    if kind == "ends in grey":
        image.paste((128, 128, 128), (0, 100, 200, 200))
    if kind == "black":
        image.paste((0, 0, 0), (0, 20, 200, 200))
    content = jpeg(image.convert("CMYK") if kind == "cmyk" else image, **options)
    if kind == "trailing bytes":
        content += bytes(500) + b"\xff\xda"
    if kind == "fill bytes":
        content = content[:2] + b"\xff\xff" + content[2:]
    (tmp_path / "a.jpg").write_bytes(content)
    with Image.open(io.BytesIO(content)) as reference:
        expected = np.asarray(reference.convert("RGB"))
    assert np.array_equal(np.asarray(read_file(tmp_path / "a.jpg").image), expected)


def test_signed_8bit_tiff_with_negative_values_is_refused(tmp_path):
    """Pillow wraps negative values around; tifffile writes and reads them unchanged."""
    values = noise(1)
    tifffile.imwrite(tmp_path / "a.tif", (values.astype(int) - 128).astype(np.int8))
    assert tifffile.imread(tmp_path / "a.tif").min() < 0
    assert "signed 8-bit values below 0" in refused(tmp_path / "a.tif", (tmp_path / "a.tif").read_bytes())
    tifffile.imwrite(tmp_path / "b.tif", (values // 2).astype(np.int8))
    assert np.array_equal(np.asarray(read_file(tmp_path / "b.tif").image), values // 2)


def png(values: np.ndarray, bits: int, colour_type: int, transparent: bytes) -> bytes:
    """A PNG written by the standard (ISO/IEC 15948), because Pillow writes none of these kinds."""
    height, width = values.shape[:2]
    samples = values.reshape(height, -1)
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        rows = [np.packbits((row[:, None] >> np.arange(bits)[::-1]) & 1).tobytes() for row in samples]
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0),
        b"tRNS": transparent,
        b"IDAT": zlib.compress(b"".join(b"\0" + row for row in rows)),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_transparent_value_of_a_grey_png_becomes_black(tmp_path, bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, (16, 16)).astype(np.uint16)
    transparent = int(values[3, 3])
    (tmp_path / "a.png").write_bytes(png(values, bits, 0, struct.pack(">H", transparent)))
    shown = np.asarray(read_file(tmp_path / "a.png").image).astype(float)
    expected = np.where(values == transparent, 0, values / (2**bits - 1) * 255)
    assert np.allclose(shown if shown.ndim == 2 else shown[:, :, 0], expected, atol=0.51)


def test_16bit_png_with_a_transparent_colour_is_refused(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (16, 16, 3)).astype(np.uint16)
    content = png(values, 16, 2, struct.pack(">HHH", *map(int, values[0, 0])))
    assert "a transparent colour of 16 bits" in refused(tmp_path / "a.png", content)


def tiff(path: Path, values: np.ndarray, **options) -> bytes:
    tifffile.imwrite(path, values, **options)
    return path.read_bytes()


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_tiff_gives_the_stored_values_or_is_refused(tmp_path, compression):
    """Pillow mixes up uncompressed 16-bit planes, and the bytes of compressed big-endian values."""
    file, deep = tmp_path / "a.tif", np.random.default_rng(0).integers(0, 65536, (3, 16, 24)).astype(np.uint16)
    colour = tiff(file, deep, photometric="rgb", planarconfig="separate", compression=compression)
    if compression:
        assert np.abs(np.asarray(read_file(file).image).astype(int) - np.moveaxis(deep, 0, -1) / 257).max() < 1
    else:
        assert "16-bit colour in separate planes: store it pixel by pixel" in refused(file, colour)
    for values, full in ((deep[0], 65535), ((deep[0] % 128).astype(np.int16), 65535), (np.float32(deep[0] / 65535), 1)):
        for order in "<>":
            content = tiff(file, values, byteorder=order, compression=compression)
            assert np.array_equal(tifffile.imread(file), values)
            if order == ">" and compression and values.dtype != np.uint16:
                assert "big-endian and compressed: store them uncompressed" in refused(file, content)
            else:
                assert np.allclose(np.asarray(read_file(file).image), values / full * 255, atol=1e-4)


def test_unsupported_format_is_named_in_the_error(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(np.uint16)
    file = tmp_path / "a.tif"
    assert "a TIFF of 1 × 16-bit floats, damaged or not supported: convert it to PNG" in refused(
        file, tiff(file, (deep / 65535).astype(np.float16))
    )
    inverted = tiff(file, deep.astype(np.uint64), photometric="miniswhite", byteorder=">")
    assert "a TIFF of 1 × 64-bit integers, big-endian, 0 for white" in refused(file, inverted)
    twelve = imagecodecs.jpeg8_encode(deep >> 4, level=95, bitspersample=12)
    assert "a JPEG of 12 bits is not supported" in refused(tmp_path / "a.jpg", twelve)
    assert refused(file, b"II*\0 nonsense") == "not a readable image"


def test_colour_dicom_without_planar_configuration_is_refused(tmp_path):
    dataset = dicom_dataset(np.asarray(smooth(16)))
    del dataset.PlanarConfiguration
    with pytest.raises(UnusableImageError, match="missing DICOM attribute PlanarConfiguration"):
        read_frame(save_dicom(tmp_path / "a.dcm", dataset))


@pytest.mark.parametrize("change", [None, "cut, with an end appended", "without its end"])
@pytest.mark.parametrize("colour", [True, False])
def test_damaged_jpeg_inside_dicom_is_refused(tmp_path, change, colour):
    image = smooth(colour=colour)
    dataset = dicom_dataset(np.asarray(image), NumberOfFrames=2)
    whole = jpeg(image, quality=95)
    frames = [whole, CHANGES[change](whole) if change else whole]
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PhotometricInterpretation = "YBR_FULL_422" if colour else "MONOCHROME2"
    file = save_dicom(tmp_path / "a.dcm", dataset)
    assert np.abs(np.asarray(read_frame(file, 0).image).astype(float) - np.asarray(image)).mean() < 3
    if change:
        with pytest.raises(UnusableImageError, match="damaged"):
            read_frame(file, 1)
