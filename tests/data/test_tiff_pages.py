"""TIFF files whose first image is not the whole picture, and images that are transparent throughout."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dcube.data.readers.images import read_file
from dcube.data.readers.raw_image import UnusableImageError
from dcube.data.readers.stored_images import StoredImage, list_stored_images, read_stored_image
from tests.support.raw_sets import noise

PICTURE, THUMBNAIL = noise(1, (64, 64)), noise(1, (64, 64))[::4, ::4]
REDUCED = "begins with a reduced image (a thumbnail) of the picture in it"
RAW = "a raw photo"


def refused(path: Path) -> str:
    with pytest.raises(UnusableImageError) as error:
        read_file(path)
    return str(error.value)


def preview_first(path: Path, flag: int = 1, extratags: tuple = (), photometric: str = "minisblack", **options) -> Path:
    """A thumbnail with the picture in a sub-directory, as cameras store it."""
    with tifffile.TiffWriter(path, **options) as file:
        file.write(THUMBNAIL, subfiletype=flag, subifds=1, extratags=extratags, metadata=None)
        file.write(PICTURE, photometric=photometric, metadata=None)
    return path


@pytest.mark.parametrize(("flag", "options"), [
    (0, {}), (1, {}), (1, {"bigtiff": True}), (0, {"byteorder": ">"}), (1, {"byteorder": ">"}),
])  # fmt: skip
def test_thumbnail_before_the_picture_is_refused(tmp_path, flag, options):
    """Pillow reads the thumbnail alone; tifffile finds the picture."""
    file = preview_first(tmp_path / "a.tif", flag, **options)
    assert np.array_equal(tifffile.TiffFile(file).pages[0].pages[0].asarray(), PICTURE)  # type: ignore[union-attr]
    assert refused(file).startswith(REDUCED)


def test_thumbnail_before_the_picture_among_the_pages_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(THUMBNAIL, subfiletype=1, metadata=None)
        file.write(PICTURE, metadata=None)
    assert refused(tmp_path / "a.tif").startswith(REDUCED)


@pytest.mark.parametrize("name", ["a.dng", "a.nef", "A.ARW", "a.tif"])
def test_raw_photo_is_refused_by_name(tmp_path, name):
    version = ((50706, "B", 4, b"\1\4\0\0", True),) if name == "a.tif" else ()
    preview_first(tmp_path / name, extratags=version)
    assert list_stored_images(tmp_path, name) == [StoredImage(name)]
    with pytest.raises(UnusableImageError, match=RAW):
        read_stored_image(tmp_path, StoredImage(name), None)


def test_raw_photo_without_preview_is_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PICTURE.astype(np.uint16), photometric="cfa", metadata=None)
    assert refused(tmp_path / "a.tif").startswith(RAW)


def test_first_page_of_full_size_is_read(tmp_path):
    """Pyramids of slide scanners and OME have their reduced pages in sub-directories."""
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(PICTURE, subifds=2, tile=(16, 16))
        file.write(PICTURE[::2, ::2], subfiletype=1, tile=(16, 16))
        file.write(THUMBNAIL, subfiletype=1, tile=(16, 16))
    assert np.array_equal(np.asarray(read_file(tmp_path / "a.ome.tif").image), PICTURE)
    tifffile.imwrite(tmp_path / "b.tif", PICTURE, subfiletype=1)  # one level of a pyramid, stored alone
    assert np.array_equal(np.asarray(read_file(tmp_path / "b.tif").image), PICTURE)


STACK = np.stack([noise(number, (32, 24)) for number in range(5)])
STACKS = {
    "tifffile": {"truncate": True},
    "ImageJ": {"truncate": True, "imagej": True},
    "volume": {"volumetric": True, "tile": (5, 16, 16)},
    "MetaMorph": {"truncate": True, "metadata": None, "extratags": ((33629, "2I", 5, tuple(range(10)), True),)},
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stack_behind_a_single_page_is_refused(tmp_path, name, dtype):
    """Pillow reads the first plane alone."""
    tifffile.imwrite(tmp_path / "a.tif", STACK.astype(dtype), photometric="minisblack", **STACKS[name])
    assert len(tifffile.TiffFile(tmp_path / "a.tif").pages) == 1
    assert refused(tmp_path / "a.tif") == "several images in one file: a stack of 5"


@pytest.mark.parametrize("description", ["ImageJ=1.54f\nimages=5\nslices=5\n", '{"shape": [5, 32, 24]}'])
def test_description_of_another_image_is_no_stack(tmp_path, description):
    """Programs that cut a plane out of a stack copy the description with it."""
    Image.fromarray(STACK[0]).save(tmp_path / "a.tif", description=description)
    assert np.array_equal(np.asarray(read_file(tmp_path / "a.tif").image), STACK[0])


def bmp_v4(rgba: np.ndarray) -> bytes:
    """A bitmap with a BITMAPV4HEADER, whose fourth mask is the alpha channel."""
    height, width = rgba.shape[:2]
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<LllHHLLllLL4L", 108, width, height, 1, 32, 3, 0, 0, 0, 0, 0, *masks) + bytes(52)
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    return b"BM" + struct.pack("<LHHL", 122 + len(pixels), 0, 0, 122) + header + pixels


@pytest.mark.parametrize("kind", ["BMP", "PNG", "TIFF", "WEBP", "grey PNG", "palette PNG"])
def test_image_that_is_transparent_throughout_is_named_so(tmp_path, kind):
    colour = np.dstack([noise(number, (16, 16)) for number in range(3)])
    for alpha in (0, 200):
        rgba = np.dstack([colour, np.full((16, 16), alpha, np.uint8)])
        content = io.BytesIO(bmp_v4(rgba) if kind == "BMP" else b"")
        if kind == "grey PNG":
            Image.fromarray(rgba[:, :, 2:]).save(content, "PNG")
        elif kind == "palette PNG":
            Image.fromarray(colour).quantize(32).save(content, "PNG", transparency=bytes([alpha] * 32))
        elif kind != "BMP":
            Image.fromarray(rgba).save(content, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
        (tmp_path / "a.png").write_bytes(content.getvalue())
        if alpha == 0:
            assert refused(tmp_path / "a.png").startswith("transparent throughout, with colours: save it without its")
        else:
            assert np.asarray(read_file(tmp_path / "a.png").image).std() > 1
