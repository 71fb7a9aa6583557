"""TIFF formats that Pillow can unpack but does not register.

These are 64-bit floats, big-endian 32-bit integers, and big-endian 16-bit integers with 0 as white.
"""

from PIL import TiffImagePlugin

LITTLE, BIG = b"II", b"MM"
INTEGERS, FLOATS = (1,), (3,)  # the tag SampleFormat
PHOTOMETRIC = (0, 1)  # 0: 0 is white, which the image reader inverts; 1: 0 is black


def register() -> None:
    """Register the formats with Pillow, unless it knows them."""
    for photometric in PHOTOMETRIC:
        for order, samples, bits, mode, stored in (
            (LITTLE, FLOATS, 64, "F", "F;64F"),
            (BIG, FLOATS, 64, "F", "F;64BF"),
            (BIG, INTEGERS, 32, "I", "I;32B"),
            (BIG, INTEGERS, 16, "I;16B", "I;16B"),
        ):
            TiffImagePlugin.OPEN_INFO.setdefault((order, photometric, samples, 1, (bits,), ()), (mode, stored))
