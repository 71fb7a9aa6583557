"""Files whose suffix does not match their content: the error says what they contain and what to do."""

import gzip
import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dcube.data.readers.file_kinds import kind_of
from dcube.data.readers.raw_image import UnusableImageError
from dcube.data.readers.stored_images import StoredImage, read_stored_image
from tests.support.medical_files import RAMP, dicom_file, nifti_file
from tests.support.raw_sets import noise

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"
VOLUME = np.random.default_rng(0).integers(0, 255, (16, 16, 4)).astype(np.uint8)


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(noise(0)).save(content, kind)
    return content.getvalue()


def dicom(folder: Path) -> bytes:
    return dicom_file(folder / "source.dcm", RAMP).read_bytes()


def nifti(folder: Path, values: np.ndarray = VOLUME) -> bytes:
    return nifti_file(folder / "source.nii", values, display=(0, 255)).read_bytes()


CASES = {
    "pointer.png": (lambda _: POINTER, "a Git LFS pointer in place of the file: fetch it with `git lfs pull`"),
    "pointer.nii.gz": (lambda _: POINTER, "a Git LFS pointer"),
    "pointer.dcm": (lambda _: POINTER, "a Git LFS pointer"),
    "annex.png": (lambda _: b"/annex/objects/SHA256E-s1--a.png\n", "a git-annex pointer"),
    "error.jpg": (lambda _: b"\n<!DOCTYPE html><html>404</html>", "a web page in place of the file"),
    "scan.png": (dicom, "DICOM: call it .dcm"),
    "scan.nii": (dicom, "DICOM: call it .dcm"),
    "picture.dcm": (lambda _: picture("PNG"), "a PNG: call it .png"),
    "picture.nii": (lambda _: picture("JPEG"), "a JPEG: call it .jpeg"),
    "gif.png": (lambda _: picture("GIF"), "a GIF: convert it to PNG"),
    "jp2.jpg": (lambda _: picture("JPEG2000"), "a JPEG 2000: convert it to PNG"),
    "packed.nii": (lambda folder: gzip.compress(nifti(folder)), "compressed data: unpack it, or call it .nii.gz"),
    "volume.nii.gz": (nifti, "NIfTI that is not compressed: call it .nii"),
    "volume.dcm": (nifti, "NIfTI that is not compressed: call it .nii"),
    "drawing.png": (lambda _: b'<?xml version="1.0"?>\n<svg xmlns="x"></svg>', "SVG, a drawing: convert it to PNG"),
    "nrrd.png": (lambda _: b"NRRD0004\n" * 20, "NRRD: convert it to DICOM or NIfTI"),
    "mha.nii": (lambda _: b"ObjectType = Image\nNDims = 3\n", "MetaImage: convert it"),
    "array.png": (lambda _: b"\x93NUMPY\1\0", "a NumPy array: convert it to PNG"),
    "matlab.dcm": (lambda _: b"MATLAB 5.0 MAT-file", "HDF5 or MATLAB: convert it to PNG"),
    "ls.jpg": (lambda _: imagecodecs.jpegls_encode(noise(0)), "JPEG-LS: convert it to PNG"),
    "rar.png": (lambda _: b"Rar!\x1a\x07\1\0", "a RAR archive: unpack it"),
    "7z.dcm": (lambda _: b"7z\xbc\xaf'\x1c", "a 7z archive: unpack it"),
    "zeros.dcm": (lambda _: bytes(5000), "nothing but zeros: fetch it again"),
    "zeros.png": (lambda _: bytes(5000), "nothing but zeros: fetch it again"),
    "nothing.png": (lambda _: b"something else\xff" * 100, "not a readable image"),
    "quota.png": (lambda _: b'{"error": "quota exceeded"}\n', "text in place of the file: fetch it again"),
    "quota.nii.gz": (lambda _: b"Access denied", "text in place of the file"),
    "quota.dcm": (lambda _: b"Access denied", "text in place of the file"),
    "empty.dcm": (lambda _: b"", "empty file: fetch it again"),
    "empty.nii.gz": (lambda _: b"", "empty file"),
    "empty.jpg": (lambda _: b"", "empty file"),
    "cut.nii.gz": (lambda folder: gzip.compress(nifti(folder))[:-200], "not a readable NIfTI file"),
    "series.nii": (
        lambda folder: nifti_file(folder / "s.nii", np.stack([VOLUME] * 2, -1)).read_bytes(),
        "16 × 16 × 4 × 2",
    ),
    "half.png": (lambda _: picture("PNG")[:300], "not a readable image"),
}


@pytest.mark.parametrize("name", CASES)
def test_error_says_what_the_file_contains(tmp_path, name):
    content, why = CASES[name]
    (tmp_path / name).write_bytes(content(tmp_path))
    with pytest.raises(UnusableImageError) as error:
        read_stored_image(tmp_path, StoredImage(name), None)
    assert str(error.value).startswith(why)


def test_image_with_the_suffix_of_another_image_format_is_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture("PNG"))
    assert np.array_equal(np.asarray(read_stored_image(tmp_path, StoredImage("a.jpg"), None).image), noise(0))


def test_bigtiff_is_recognised_without_suffix(tmp_path):
    tifffile.imwrite(tmp_path / "a", noise(0), bigtiff=True)
    assert kind_of(tmp_path / "a") == "picture"
    assert np.array_equal(np.asarray(read_stored_image(tmp_path, StoredImage("a"), None).image), noise(0))
