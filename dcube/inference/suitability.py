"""Check that a model is suitable for an image, because a network also predicts where its prediction means nothing."""

from dcube.artifacts.schemas.dataset import Extent, InputSpec
from dcube.data.readers.modes import MEASURED, is_coloured, may_be_coloured
from dcube.data.readers.raw_image import RawImage, UnusableImageError

LARGEST_FACTOR = 2.0  # largest ratio between a side and the smallest or largest side in training
LARGEST_STRETCH = 1.25  # largest factor beyond the range of aspect ratios possible with the sides in training


def check_suitability(raw: RawImage, spec: InputSpec) -> None:
    """Compare an image, windowed and cropped as in training, with the training images.

    Args:
        spec: the model's input specification. Properties that it does not contain are not checked.

    Raises:
        UnusableImageError: if a property differs; the message names it.
    """
    modes = list(spec.raw.modes)
    _check_format(raw, modes, spec)
    _check_modality(raw, set(spec.raw.modalities) - {""})
    _check_colour(raw, modes, spec.channels)
    if spec.raw.width and spec.raw.height:
        _check_size(raw, spec.raw.width, spec.raw.height)


def _check_format(raw: RawImage, modes: list[str], spec: InputSpec) -> None:
    """Refuse plain images for a model trained on windowed measurements (DICOM, NIfTI), and the reverse."""
    if not modes:
        return
    measured = {mode.startswith(MEASURED) for mode in modes}
    if raw.mode.startswith(MEASURED) not in measured:
        trained = f"window {_window(spec)}" if True in measured else "plain images, whose window is unknown"
        given = raw.mode.split()[0] if raw.mode.startswith(MEASURED) else f"a plain image ({raw.mode})"
        raise UnusableImageError(f"the model was made for {trained}, and this is {given}")


def _window(spec: InputSpec) -> str:
    if spec.window_center is None or spec.window_width is None:
        return "of each DICOM or NIfTI file"
    return f"{spec.window_center:g} ± {spec.window_width / 2:g} of DICOM or NIfTI values"


def _check_modality(raw: RawImage, modalities: set[str]) -> None:
    if raw.modality and modalities and raw.modality not in modalities:
        raise UnusableImageError(f"the model was made for {', '.join(sorted(modalities))}, and this is {raw.modality}")


def _check_colour(raw: RawImage, modes: list[str], channels: int) -> None:
    coloured = is_coloured(raw.image)
    colours_seen = any(may_be_coloured(mode) for mode in modes) if modes else True
    if coloured and (channels == 1 and not colours_seen):
        raise UnusableImageError("the model was made for grey images, and this is in colour")
    if not coloured and channels == 3 and modes and all(may_be_coloured(mode) for mode in modes):
        raise UnusableImageError("the model was made for colour images, and this is grey")


def _check_size(raw: RawImage, width: Extent, height: Extent) -> None:
    size = f"{raw.image.width} × {raw.image.height} pixels"
    sides = (("width", raw.image.width, width), ("height", raw.image.height, height))
    for name, side, seen in sides:
        if not seen.smallest / LARGEST_FACTOR <= side <= seen.largest * LARGEST_FACTOR:
            raise UnusableImageError(
                f"{size}: training saw a {name} of {seen.smallest:g} to {seen.largest:g}, and "
                f"{seen.smallest / LARGEST_FACTOR:g} to {seen.largest * LARGEST_FACTOR:g} is accepted"
            )
    ratio = raw.image.width / raw.image.height
    narrowest, widest = width.smallest / height.largest, width.largest / height.smallest
    if not narrowest / LARGEST_STRETCH <= ratio <= widest * LARGEST_STRETCH:
        raise UnusableImageError(
            f"{size}: an aspect ratio of {ratio:.2f}, and training saw {narrowest:.2f} to {widest:.2f}"
        )
