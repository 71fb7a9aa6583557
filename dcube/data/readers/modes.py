"""Storage modes of `RawImage`: Pillow's names, NumPy's, DICOM's photometric interpretations."""

MEASURED = ("DICOM", "NIfTI", "measured")  # modes whose values are measurements, displayed through a window


def may_be_coloured(mode: str) -> bool:
    """Whether images of this mode can be in colour; many are grey all the same."""
    return any(word in mode for word in ("RGB", "P", "CMYK", "YCbCr", "YBR", "LAB", "HSV"))


def storage_kind(mode: str) -> str:
    """The kind of a mode, whichever reader named it: an 8-bit grey PNG and an 8-bit grey array are alike."""
    if mode.startswith(MEASURED):
        return mode.split()[0]
    return "colour image" if may_be_coloured(mode) else "grey image"
