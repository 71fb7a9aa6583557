"""Files that declare excessive sizes are refused from their headers, in bounded memory."""

import gzip
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from tests.support.checkout import ROOT
from tests.support.medical_files import dicom_dataset, save_dicom

MOST_MIB = 512  # of a process that imports all readers
READ = """
import sys
from pathlib import Path
from dcube.data.readers.raw_image import UnusableImageError
from dcube.data.readers.stored_images import list_stored_images, read_stored_image
for name in sys.argv[2:]:
    images = list_stored_images(Path(sys.argv[1]), name)
    try:
        read_stored_image(Path(sys.argv[1]), images[-1], None)
    except UnusableImageError as error:
        print(len(images), error)
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
"""


def volume(path: Path, *sides: int, padding: int = 0) -> None:
    header = nibabel.Nifti2Header()
    header["dim"] = [3, *sides, 1, 1, 1, 1]
    header["datatype"], header["bitpix"], header["sform_code"] = 2, 8, 1
    header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = 1
    header["magic"] = b"n+2\0\r\n\x1a\n"
    path.write_bytes(gzip.compress(header.binaryblock) + bytes(padding))


def frames(path: Path) -> None:
    dataset = dicom_dataset(np.zeros((8, 8), np.uint8), NumberOfFrames=50_000_000)
    save_dicom(path, dataset)
    with path.open("r+b") as file:
        file.truncate(60_000_000)


def streams(folder: Path) -> list[str]:
    """DICOM of 16 × 16 pixels whose compressed pixels are of 12,000 a side and more, in kilobytes."""
    jpeg_2000 = bytearray(imagecodecs.jpeg2k_encode(np.zeros((16, 16), np.uint8), codecformat="j2k", level=0))
    struct.pack_into(">2I8x2I", jpeg_2000, 8, *[20_000] * 4)  # the size of the image, and of its only tile
    jpeg = io.BytesIO()
    Image.new("RGB", (13_000, 13_000)).save(jpeg, "JPEG")
    found = {
        "j2k.dcm": (JPEG2000Lossless, bytes(jpeg_2000)),
        "jls.dcm": (JPEGLSLossless, imagecodecs.jpegls_encode(np.zeros((12_000, 12_000), np.uint8))),
        "jpeg.dcm": (JPEGBaseline8Bit, jpeg.getvalue()),
        "rle.dcm": (RLELossless, struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 4_000_000),
    }
    for name, (syntax, stream) in found.items():
        colour = name == "jpeg.dcm"
        dataset = dicom_dataset(np.zeros((16, 16, 3) if colour else (16, 16), np.uint8))
        dataset.PhotometricInterpretation = "YBR_FULL_422" if colour else "MONOCHROME2"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].is_undefined_length = True
        save_dicom(folder / name, dataset)
    return list(found)


def picture(path: Path) -> None:
    """An RGBA PNG of 16,384 × 10,900 pixels in 0.7 MB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = (16_384).to_bytes(4) + (10_900).to_bytes(4) + bytes([8, 6, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(700_000)))


def test_files_that_declare_excessive_sizes_are_refused(tmp_path):
    volume(tmp_path / "slices.nii.gz", 8, 8, 2**24, padding=2**21)
    volume(tmp_path / "voxels.nii.gz", 2**14, 2**14, 2**30)
    volume(tmp_path / "empty.nii.gz", 512, 512, 4000)
    frames(tmp_path / "frames.dcm")
    picture(tmp_path / "a.png")
    bombs = streams(tmp_path)
    names = ["slices.nii.gz", "voxels.nii.gz", "empty.nii.gz", "frames.dcm", "a.png", *bombs]
    done = subprocess.run([sys.executable, "-c", READ, tmp_path, *names], capture_output=True, text=True, cwd=ROOT)
    *refusals, peak = done.stdout.splitlines()
    assert refusals == [
        "1 16777216 frames or slices, more than DCUBE_MAX_FRAMES=10000",
        "1 274877906944 MiB unpacked, more than DCUBE_MAX_VOLUME_MIB=1024",
        "1 cut off: fewer voxels than the header says",
        "1 50000000 frames or slices, more than DCUBE_MAX_FRAMES=10000",
        "1 16384 × 10900 pixels, more than DCUBE_MAX_MEGAPIXELS=64",
        *[
            f"1 damaged or hostile: the compressed pixels are {side} × {side} pixels of {samples} × 8 bits, and the "
            f"header says 16 × 16 pixels of {samples} × 8 bits: fetch the file again"
            for side, samples in ((20_000, 1), (12_000, 1), (13_000, 3))
        ],
        "1 damaged or hostile: the compressed pixels are more than 16 × 16: fetch the file again",
    ], done.stderr
    assert int(peak) < MOST_MIB
