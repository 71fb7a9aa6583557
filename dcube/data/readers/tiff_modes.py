"""TIFF that Pillow unpacks and does not know: 64-bit floats, big-endian integers of 32 bits, of 16 with 0 for white."""

from PIL import TiffImagePlugin

LITTLE, BIG = b"II", b"MM"
INTEGERS, FLOATS = (1,), (3,)  # the tag SampleFormat
PHOTOMETRIC = (0, 1)  # which value is black; the reader of images turns the one where 0 is white


def register() -> None:
    """Let Pillow read them, once."""
    for photometric in PHOTOMETRIC:
        for order, samples, bits, mode, stored in (
            (LITTLE, FLOATS, 64, "F", "F;64F"),
            (BIG, FLOATS, 64, "F", "F;64BF"),
            (BIG, INTEGERS, 32, "I", "I;32B"),
            (BIG, INTEGERS, 16, "I;16B", "I;16B"),
        ):
            TiffImagePlugin.OPEN_INFO.setdefault((order, photometric, samples, 1, (bits,), ()), (mode, stored))
