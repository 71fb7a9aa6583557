"""Compressed DICOM frames of another size than the header says, and files with more frames than it says."""

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import SimpleITK
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dcube.data.readers.dicom import read_frame
from dcube.data.readers.raw_image import UnusableImageError
from tests.support.medical_files import RAMP, dicom_dataset, dicom_file, save_dicom


def jpeg(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95)
    return content.getvalue()


def rle(pixels: np.ndarray) -> bytes:
    dataset = dicom_dataset(pixels)
    dataset.compress(RLELossless, generate_instance_uid=False)
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def jpeg_2000(pixels: np.ndarray) -> bytes:
    return imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", level=0)


ENCODERS = {
    "JPEG": (JPEGBaseline8Bit, jpeg),
    "lossless JPEG": (
        JPEGLosslessSV1,
        lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=8),
    ),
    "JPEG-LS": (JPEGLSLossless, imagecodecs.jpegls_encode),
    "JPEG 2000": (JPEG2000Lossless, jpeg_2000),
    "JP2": (JPEG2000Lossless, lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", level=0)),
    "RLE": (RLELossless, rle),
}


def smooth(height: int = 32, width: int = 24) -> np.ndarray:
    return (np.add.outer(np.arange(height) * 3, np.arange(width) * 4) % 256).astype(np.uint8)


def stored(path: Path, syntax: str, frames: list[bytes], **tags) -> Path:
    """A file whose header says 32 × 24 pixels of 8 bits."""
    dataset = dicom_dataset(smooth(), **tags)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return save_dicom(path, dataset)


def refused(path: Path, frame: int = 0) -> str:
    with pytest.raises(UnusableImageError) as error:
        read_frame(path, frame)
    return str(error.value)


@pytest.mark.parametrize("name", ENCODERS)
def test_compressed_frame_of_another_size_is_refused(tmp_path, name):
    syntax, encode = ENCODERS[name]
    whole = np.asarray(read_frame(stored(tmp_path / "a.dcm", syntax, [encode(smooth())])).image)
    assert np.abs(whole - smooth().astype(float)).mean() < (2 if name == "JPEG" else 1e-3)
    why = refused(stored(tmp_path / "b.dcm", syntax, [encode(np.tile(smooth(), (40, 40)))]))
    assert why.startswith("damaged or hostile: the compressed pixels are ")
    assert ("more than 24 × 32" if name == "RLE" else "960 × 1280 pixels of 1 × 8 bits, and the header") in why


def test_compressed_frame_of_other_samples_is_refused(tmp_path):
    colour = np.dstack([smooth()] * 3)
    for stream, syntax in ((jpeg(colour), JPEGBaseline8Bit), (jpeg_2000(colour), JPEG2000Lossless)):
        assert "24 × 32 pixels of 3 × 8 bits, and the" in refused(stored(tmp_path / "a.dcm", syntax, [stream]))
    deep = jpeg_2000(smooth().astype(np.uint16) * 200)
    assert "24 × 32 pixels of 1 × 16 bits, and the" in refused(stored(tmp_path / "a.dcm", JPEG2000Lossless, [deep]))


def test_jpeg_2000_of_countless_tiles_is_refused(tmp_path):
    """The decoder allocates 6 kB for each tile: 730 bytes took 600 MB."""
    stream = bytearray(jpeg_2000(np.zeros((16, 16), np.uint8)))
    struct.pack_into(">2I8x2I", stream, 8, 255, 257, 1, 1)  # the size of the image, and of a tile
    assert "cannot be decoded" in refused(
        stored(tmp_path / "a.dcm", JPEG2000Lossless, [bytes(stream)], Rows=257, Columns=255)
    )


def test_frame_in_several_fragments_is_one_frame(tmp_path):
    stream = jpeg(smooth())
    dataset = dicom_dataset(smooth())
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([stream], fragments_per_frame=3)
    dataset["PixelData"].is_undefined_length = True
    shown = np.asarray(read_frame(save_dicom(tmp_path / "a.dcm", dataset)).image)
    assert np.abs(shown - smooth().astype(float)).mean() < 2


@pytest.mark.parametrize("name", [*ENCODERS, "native"])
@pytest.mark.parametrize("stated", [None, 1, 2])
def test_more_frames_than_the_header_says_are_refused(tmp_path, name, stated):
    frames = [np.roll(smooth(), number, axis=0) for number in range(10)]
    tags = {} if stated is None else {"NumberOfFrames": stated}
    if name == "native":
        file = dicom_file(tmp_path / "a.dcm", np.stack(frames), **tags)
    else:
        syntax, encode = ENCODERS[name]
        file = stored(tmp_path / "a.dcm", syntax, [encode(frame) for frame in frames], **tags)
    missing = "the number of frames is missing" if stated is None else "a wrong number of frames"
    assert refused(file) == f"{missing}: there are pixels for 10: set NumberOfFrames, or store each alone"


def test_padding_after_the_pixels_is_no_frame(tmp_path):
    dataset = dicom_dataset(smooth())
    dataset.PixelData += bytes(smooth().size - 2)
    assert np.array_equal(np.asarray(read_frame(save_dicom(tmp_path / "a.dcm", dataset)).image), smooth())


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("meta", [True, False])
def test_large_file_without_preamble_is_read(tmp_path, syntax, meta):
    """Also a file of 18 MB; the reference is SimpleITK."""
    values = np.random.default_rng(0).integers(0, 4096, (3000, 3000)).astype(np.uint16)
    pixels = values.astype(">u2") if syntax == ExplicitVRBigEndian else values
    dataset: Dataset = dicom_dataset(pixels, BitsStored=12)
    dataset.file_meta.TransferSyntaxUID = syntax
    file = save_dicom(tmp_path / "a.dcm", dataset)
    whole = np.asarray(read_frame(file).image)
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))[0], values)
    assert np.allclose(whole, values / 4095 * 255, atol=1e-3)
    content = file.read_bytes()
    start = 132 if meta else 132 + 12 + int.from_bytes(content[140:144], "little")
    (tmp_path / "b.dcm").write_bytes(content[start:])
    assert np.array_equal(np.asarray(read_frame(tmp_path / "b.dcm").image), whole)


@pytest.mark.parametrize("name", ENCODERS)
def test_compressed_file_that_is_cut_off_is_refused_for_every_frame(tmp_path, name):
    """Some decoders fill what is missing, and CharLS takes seconds to notice it."""
    syntax, encode = ENCODERS[name]
    file = stored(tmp_path / "a.dcm", syntax, [encode(smooth())] * 2, NumberOfFrames=2)
    content = file.read_bytes()
    for cut in (8, 40, 200):
        file.write_bytes(content[:-cut])
        for frame in (0, 1):
            assert refused(file, frame) == "damaged, perhaps cut off: the end of the pixels is missing"


def test_jpeg_ls_without_its_end_is_refused(tmp_path):
    stream = imagecodecs.jpegls_encode(np.random.default_rng(0).integers(0, 256, (32, 24), dtype=np.uint8))
    why = "damaged or cut off: a JPEG-LS without its end"
    assert refused(stored(tmp_path / "a.dcm", JPEGLSLossless, [stream[:400]])) == why


@pytest.mark.parametrize("side", [16, 3000])
def test_file_that_is_cut_off_is_refused_at_any_size(tmp_path, side):
    file = dicom_file(tmp_path / "a.dcm", np.resize(RAMP, (side, side)))
    file.write_bytes(file.read_bytes()[:-100])
    assert refused(file) == "cut off: fewer pixels than the header says"
