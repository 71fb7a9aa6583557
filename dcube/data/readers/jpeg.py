"""A decoder plugin for pydicom: lossless JPEG and 12-bit JPEG, by libjpeg-turbo.

pydicom's own plugins for these formats are not used: one is a GPL library, and the other (GDCM) crashes the process on
some damaged files.
"""

import imagecodecs
import numpy as np
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

DECODER_DEPENDENCIES = {uid: ("imagecodecs",) for uid in (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)}
LABEL = "libjpeg-turbo"


def is_available(uid: UID) -> bool:
    return uid in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """Decode a frame to bytes. The array has the size of the header, so a stream of another size is an error."""
    shape = (runner.rows, runner.columns) + (runner.samples_per_pixel,) * (runner.samples_per_pixel > 1)
    pixels = np.empty(shape, np.uint8 if runner.bits_stored <= 8 else np.uint16)
    imagecodecs.jpeg8_decode(source, out=pixels)
    runner.set_option("bits_allocated", 8 * pixels.itemsize)
    runner.set_option("planar_configuration", 0)
    return pixels.tobytes()


def register() -> None:
    """Register the decoder with pydicom, unless this has been done."""
    for uid in DECODER_DEPENDENCIES:
        decoder = get_decoder(uid)
        if LABEL not in decoder.available_plugins:
            decoder.add_plugin(LABEL, (__name__, decode_frame.__name__))
