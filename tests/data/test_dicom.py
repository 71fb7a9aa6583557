"""DICOM pixels agree with an independent reader and the standard's formulas, or the file is refused."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SegmentationStorage,
)

from dcube.data.readers.dicom import read_frame
from dcube.data.readers.dicom_header import read_header
from dcube.data.readers.file_kinds import kind_of
from dcube.data.readers.raw_image import UnusableImageError
from dcube.data.readers.windows import Window
from tests.support.medical_files import RAMP, dicom_dataset, dicom_file, save_dicom

SHIPPED = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
WHOLE = Window(2047.5, 4095.0)  # maps 12 bits to 0 … 255


def shown(path: Path, frame: int = 0, window: Window | None = None) -> np.ndarray:
    return np.asarray(read_frame(path, frame, window).image)


def linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, as written there."""
    shown = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    shown[values <= center - 0.5 - (width - 1) / 2] = 0
    shown[values > center - 0.5 + (width - 1) / 2] = 255
    return shown


def test_modality_lut_is_applied_before_the_window_of_the_file(tmp_path):
    signed = RAMP.astype(np.int16) - 2000
    file = dicom_file(
        tmp_path / "a.dcm", signed, BitsStored=16, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=[40, 7],
        WindowWidth=[400, 9],
    )  # fmt: skip
    assert np.allclose(shown(file), linear(signed * 2.0 - 100, 40, 400), atol=1e-3)


def test_given_window_replaces_the_window_of_the_file(tmp_path):
    file = dicom_file(tmp_path / "a.dcm", RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=1, WindowWidth=2)
    expected = np.clip((RAMP - 1024.0 - (40 - 200)) / 400, 0, 1) * 255
    assert np.allclose(shown(file, window=Window(40, 400)), expected, atol=1e-3)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_voi_functions_agree_with_pydicom(tmp_path, function, dtype):
    pixels = RAMP // 16 if dtype == np.uint8 else RAMP
    dataset = dicom_dataset(
        pixels.astype(dtype), RescaleSlope=1.5, RescaleIntercept=-20, WindowCenter=90, WindowWidth=120,
        VOILUTFunction=function,
    )  # fmt: skip
    values = apply_voi_lut(apply_modality_lut(pixels.astype(dtype), dataset), dataset)
    reference = np.interp(values, (values.min(), values.max()), (0, 255))  # pydicom scales to the range of these bits
    ours = shown(save_dicom(tmp_path / "a.dcm", dataset))
    if function != "SIGMOID":  # a sigmoid reaches neither end of its range
        assert np.allclose(ours, reference, atol=0.02)
    assert np.corrcoef(ours.ravel(), reference.ravel())[0, 1] > 0.99999


def lut(first: int, table: np.ndarray, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table), first, bits])
    item.add_new("LUTData", "US", table.tolist())
    return item


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_modality_and_voi_lookup_tables_are_applied(tmp_path, bits):
    """Values beyond the ends of a table get the value of the nearest end."""
    table = np.random.default_rng(0).permutation(2048) % 2**bits
    first = 300
    looked_up = table[np.clip(RAMP.astype(int) - first, 0, 2047)] / (2**bits - 1) * 255
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        file = dicom_file(tmp_path / "a.dcm", RAMP, **{keyword: [lut(first, table, bits)]})
        assert np.allclose(shown(file), looked_up, atol=1e-3), keyword


def test_rescale_intercept_without_a_slope_is_applied(tmp_path):
    """The slope is then 1, as in SimpleITK."""
    for slope in ({}, {"RescaleSlope": ""}, {"RescaleSlope": None}):
        file = dicom_file(tmp_path / "a.dcm", RAMP, RescaleIntercept=-1024, **slope)
        reference = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))[0].astype(float)
        assert reference.min() == -1024
        assert np.allclose(
            shown(file, window=Window(0, 2048)), np.clip((reference + 1024) / 2048, 0, 1) * 255, atol=1e-3
        )


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize(("dtype", "intercept", "first"), [
    (np.uint16, -1024, -1000), (np.int16, -1024, -1000), (np.int16, 32768, 33000), (np.uint16, 32000, 33000),
])  # fmt: skip
def test_first_value_of_a_voi_table_is_signed_like_the_rescaled_values(tmp_path, syntax, dtype, intercept, first):
    table = np.random.default_rng(0).permutation(4001) % 4096
    dataset = dicom_dataset(
        RAMP.astype(dtype), RescaleSlope=1, RescaleIntercept=intercept, VOILUTSequence=[lut(first, table, 12)]
    )
    dataset.file_meta.TransferSyntaxUID = syntax
    expected = table[np.clip(RAMP.astype(int) + intercept - first, 0, 4000)] / 4095 * 255
    assert np.allclose(shown(save_dicom(tmp_path / "a.dcm", dataset)), expected, atol=1e-3)


@pytest.mark.parametrize("entries", [256, 201])
def test_packed_8bit_table_may_have_an_odd_number_of_entries(tmp_path, entries):
    table = np.random.default_rng(0).integers(0, 256, entries, dtype=np.uint8)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, 40, 8])
    item.add_new("LUTData", "OW", table.tobytes() + b"\0" * (entries % 2))
    file = dicom_file(tmp_path / "a.dcm", RAMP // 16, VOILUTSequence=[item])
    expected = table[np.clip(RAMP.astype(int) // 16 - 40, 0, entries - 1)].astype(float)
    assert np.allclose(shown(file), expected, atol=1e-3)


@pytest.mark.parametrize("keyword", ["RescaleIntercept", "WindowCenter", "PixelSpacing", "NumberOfFrames"])
def test_decimal_comma_is_refused_with_the_attribute_name(tmp_path, keyword):
    value = {"PixelSpacing": ["73519", "73519"]}.get(keyword, "73519")
    file = dicom_file(tmp_path / "a.dcm", RAMP, WindowWidth=100, **{keyword: value})
    file.write_bytes(file.read_bytes().replace(b"73519", b"73,19"))
    with pytest.raises(UnusableImageError, match=f"{keyword} is not a number"):
        read_frame(file)


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
@pytest.mark.parametrize("size", [16, 1500])
def test_float_pixels_are_shown_only_with_a_given_window(tmp_path, keyword, dtype, size):
    """Float Pixel Data (C.7.6.24), also in a file that is too large to be read whole."""
    values = np.random.default_rng(0).normal(0, 500, (2, size, size)).astype(dtype)
    dataset = dicom_dataset(RAMP, Rows=size, Columns=size, NumberOfFrames=2, BitsAllocated=8 * values.itemsize)
    for unused in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, unused)
    setattr(dataset, keyword, values.tobytes())
    file = save_dicom(tmp_path / "a.dcm", dataset)
    with pytest.raises(UnusableImageError, match="floats without a window"):
        read_frame(file)
    assert np.allclose(shown(file, 1, Window(0, 1000)), np.clip((values[1] + 500) / 1000, 0, 1) * 255, atol=1e-3)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("stored", ["masked", "extended"])
def test_signed_13bit_values_are_decoded_from_a_16bit_stream(tmp_path, syntax, stored):
    """With and without the sign extended; the reference is SimpleITK, which has its own codec."""
    values = np.random.default_rng(0).integers(-4096, 4096, (64, 48)).astype(np.int16)
    written = values.view(np.uint16) & (0x1FFF if stored == "masked" else 0xFFFF)
    encode = imagecodecs.jpegls_encode if syntax == JPEGLSLossless else imagecodecs.jpeg2k_encode
    options = {} if syntax == JPEGLSLossless else {"codecformat": "j2k", "level": 0}
    dataset = dicom_dataset(values, BitsStored=13)
    dataset.PixelData = encapsulate([encode(written, **options)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    file = save_dicom(tmp_path / "a.dcm", dataset)
    if syntax == JPEGLSLossless:
        assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))[0], values)
    assert np.allclose(shown(file, window=Window(0, 8192)), (values + 4096.0) / 8192 * 255, atol=1e-2)


def test_monochrome1_is_inverted(tmp_path):
    tags = {"WindowCenter": 1000, "WindowWidth": 1500}
    positive = shown(dicom_file(tmp_path / "a.dcm", RAMP, **tags))
    negative = shown(dicom_file(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1", **tags))
    assert np.allclose(positive + negative, 255)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16), (12, np.int16)])
def test_image_without_a_window_is_scaled_by_its_stored_bits(tmp_path, bits, dtype):
    low = -(2 ** (bits - 1)) if dtype == np.int16 else 0
    pixels = np.linspace(low, low + 2**bits - 1, 256).round().astype(dtype).reshape(16, 16)
    ours = shown(dicom_file(tmp_path / "a.dcm", pixels, BitsStored=bits))
    assert np.allclose(ours, (pixels.astype(float) - low) / (2**bits - 1) * 255, atol=1e-3)


@pytest.mark.parametrize("center", [1000, 1000.5, -3, 5000])
def test_linear_window_of_width_1_is_a_threshold(tmp_path, center):
    """PS3.3 C.11.2.1.2.1: values up to center - 0.5 are black, all others white."""
    pixels = RAMP.astype(np.int16) - 10
    file = dicom_file(tmp_path / "a.dcm", np.stack([pixels] * 2), NumberOfFrames=2, WindowCenter=center, WindowWidth=1)
    assert np.array_equal(shown(file), np.where(pixels <= center - 0.5, 0, 255))


@pytest.mark.parametrize(("width", "function"), [
    (0, "LINEAR"), (0.5, "LINEAR"), ("", "LINEAR"), (None, "LINEAR"), (0, "LINEAR_EXACT"), (-1, "SIGMOID"),
])  # fmt: skip
def test_invalid_window_width_is_ignored(tmp_path, width, function):
    file = dicom_file(
        tmp_path / "a.dcm", RAMP, BitsStored=12, WindowCenter=0, WindowWidth=width, VOILUTFunction=function
    )
    assert np.allclose(shown(file), RAMP / 4095 * 255, atol=1e-3)


def test_bits_outside_the_stored_bits_are_ignored(tmp_path):
    """Old files keep overlays in the high bits."""
    clean = shown(dicom_file(tmp_path / "a.dcm", RAMP, BitsStored=12))
    overlaid = RAMP | (RAMP << 4 & 0xF000)
    assert np.array_equal(shown(dicom_file(tmp_path / "b.dcm", overlaid, BitsStored=12)), clean)
    signed = (RAMP.astype(np.int16) - 2048) & 0x0FFF  # two's complement in 12 bits, not extended
    assert np.array_equal(shown(dicom_file(tmp_path / "d.dcm", signed.astype(np.int16), BitsStored=12)), clean)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("kind", ["12 bits", "16 bits", "signed", "colour", "frames"])
def test_lossless_compression_keeps_the_pixels(tmp_path, syntax, kind):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 4096, (64, 48), dtype=np.uint16)
    tags = {"BitsStored": 12}
    if kind == "16 bits":
        pixels, tags = pixels * 16, {}
    elif kind == "signed":
        pixels, tags = pixels.astype(np.int16) - 2048, {"BitsStored": 16}
    elif kind == "colour":
        pixels, tags = generator.integers(0, 256, (64, 48, 3), dtype=np.uint8), {}
    elif kind == "frames":
        pixels, tags = np.stack([pixels, pixels[::-1]]), {"BitsStored": 12, "NumberOfFrames": 2}
    dataset = dicom_dataset(pixels, WindowCenter=1000, WindowWidth=3000, **tags)
    plain = save_dicom(tmp_path / "plain.dcm", dataset)
    dataset.compress(syntax, generate_instance_uid=False)
    packed = save_dicom(tmp_path / "packed.dcm", dataset)
    for frame in range(read_header(packed).frames):
        assert np.array_equal(shown(packed, frame), shown(plain, frame))


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("kind", ["8 bits", "12 bits", "16 bits", "signed", "colour"])
def test_lossless_jpeg_keeps_the_pixels(tmp_path, syntax, kind):
    """Encoded by libjpeg's lossless mode; SimpleITK, which has its own codec, decodes the same."""
    generator = np.random.default_rng(0)
    bits = {"8 bits": 8, "12 bits": 12, "colour": 8}.get(kind, 16)
    shape = (64, 48, 3) if kind == "colour" else (64, 48)
    pixels = generator.integers(0, 2**bits, shape, dtype=np.uint8 if bits == 8 else np.uint16)
    stream = imagecodecs.jpeg8_encode(
        pixels, lossless=True, predictor=1, bitspersample=bits, **({"colorspace": "RGB"} if kind == "colour" else {})
    )
    dataset = dicom_dataset(pixels.view(np.int16) if kind == "signed" else pixels, BitsStored=bits)
    plain = save_dicom(tmp_path / "plain.dcm", dataset)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    packed = save_dicom(tmp_path / "packed.dcm", dataset)
    assert np.array_equal(shown(packed), shown(plain))
    reference = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(packed)))[0]
    assert np.array_equal(reference, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(plain)))[0])


def test_frames_are_counted_and_read_one_by_one(tmp_path):
    stack = np.stack([RAMP + number for number in range(5)])
    file = dicom_file(tmp_path / "a.dcm", stack, NumberOfFrames=5)
    assert read_header(file).frames == 5
    for number in range(5):
        assert np.allclose(shown(file, number, WHOLE), np.clip(stack[number] / 4095 * 255, 0, 255), atol=1e-3)
    with pytest.raises(UnusableImageError, match="no frame 5"):
        read_frame(file, 5)


def group(**sequences: Dataset) -> Dataset:
    item = Dataset()
    for keyword, entry in sequences.items():
        setattr(item, keyword, [entry])
    return item


def tags(**values) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def test_enhanced_dicom_uses_the_window_of_each_frame(tmp_path):
    """Functional groups (PS3.3 C.7.6.16): those of the frame override shared ones, and both override the data set."""
    rescale = tags(RescaleSlope=2, RescaleIntercept=-1000, RescaleType="HU")
    windows = [tags(WindowCenter=0, WindowWidth=1000), tags(WindowCenter=500, WindowWidth=50)]
    file = dicom_file(
        tmp_path / "a.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=2,
        SharedFunctionalGroupsSequence=[
            group(
                PixelValueTransformationSequence=rescale,
                PixelMeasuresSequence=tags(PixelSpacing=[2.0, 1.0]),
            )
        ],
        PerFrameFunctionalGroupsSequence=[group(FrameVOILUTSequence=window) for window in windows],
    )  # fmt: skip
    assert read_header(file).spacing == (2.0, 1.0)
    for number, (center, width) in enumerate([(0, 1000), (500, 50)]):
        image = read_frame(file, number).image
        assert image.size == (16, 32), "rows lie twice as far apart as columns"
        plain = dicom_file(
            tmp_path / "b.dcm", RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=center, WindowWidth=width,
            PixelSpacing=[2.0, 1.0],
        )  # fmt: skip
        assert np.array_equal(np.asarray(image), shown(plain))


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"])
def test_pixels_that_are_not_square_are_resampled(tmp_path, keyword):
    y, x = np.mgrid[:40, :80]
    disc = ((((y - 19.5) * 2) ** 2 + (x - 39.5) ** 2) < 30**2).astype(np.uint8) * 200
    image = shown(dicom_file(tmp_path / "a.dcm", disc, **{keyword: [2, 1]})) > 100
    assert image.shape == (80, 80)
    assert abs(image.any(axis=0).sum() - image.any(axis=1).sum()) <= 2


def test_header_fields_are_read(tmp_path):
    file = dicom_file(
        tmp_path / "a.dcm", RAMP, PatientID=" 17 ", SeriesInstanceUID="1.2.3", PixelSpacing=[0.5, 0.5],
        StudyInstanceUID="1.2", SOPInstanceUID="1.4",
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=[-1, -2, 42.5], BurnedInAnnotation="YES",
    )  # fmt: skip
    facts = read_header(file)
    assert (facts.modality, facts.rows, facts.columns, facts.frames) == ("CT", 16, 16, 1)
    assert (facts.patient, facts.series, facts.spacing) == ("17", "1.2.3", (0.5, 0.5))
    assert (facts.study, facts.instance) == ("1.2", "1.4")
    assert facts.depth == 42.5 and facts.burned_in is True and not facts.is_document


def test_most_tags_are_optional(tmp_path):
    dataset = dicom_dataset(RAMP)
    for keyword in ("Modality", "SOPClassUID", "SOPInstanceUID", "HighBit"):
        delattr(dataset, keyword)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2"
    file = save_dicom(tmp_path / "a.dcm", dataset)
    facts = read_header(file)
    assert (facts.modality, facts.patient, facts.spacing, facts.depth, facts.burned_in) == ("", "", None, None, None)
    assert np.allclose(shown(file), RAMP / 65535 * 255, atol=1e-3)


def test_unknown_modality_is_read_as_empty(tmp_path):
    assert read_header(dicom_file(tmp_path / "a.dcm", RAMP, Modality="SMITH")).modality == ""


def test_file_type_is_detected_without_suffix(tmp_path):
    file = dicom_file(tmp_path / "IM0001", RAMP)
    assert kind_of(file) == "DICOM"
    (tmp_path / "README").write_text("DICM")
    assert kind_of(tmp_path / "README") is None


def without(keyword: str):
    def change(dataset: Dataset) -> None:
        delattr(dataset, keyword)

    return change


def with_(**values):
    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def deflated(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without("Rows"), "size of the image is missing"),
        (with_(SOPClassUID=SegmentationStorage), "segmentation"),
        (without("PixelData"), "no pixels"),
        (without("PhotometricInterpretation"), "missing DICOM attribute PhotometricInterpretation"),
        (without("PixelRepresentation"), "missing DICOM attribute PixelRepresentation"),
        (with_(BitsStored=12, HighBit=15), "HighBit"),
        (without("Columns"), "smaller than 8"),
        (with_(PhotometricInterpretation="HSV"), "photometric interpretation"),
        (with_(SamplesPerPixel=2), "photometric interpretation"),
        (with_(Rows=60000), "larger than 16384"),
        (with_(Rows=7000, Columns=7000, NumberOfFrames=100), "cut off"),
        (with_(Rows=16000, Columns=10900), "more than DCUBE_MAX_MEGAPIXELS=64"),
        (with_(NumberOfFrames=10**9), "more frames than bytes"),
        (with_(RescaleSlope="0", RescaleIntercept="0"), "slope of 0"),
        (with_(VOILUTFunction="CUBIC", WindowCenter=1, WindowWidth=9), "VOI LUT function"),
        (with_(PixelSpacing=[1, 0.00001]), "larger than"),
        (deflated, "deflated"),
    ],
)
def test_unusable_dicom_is_refused_with_the_reason(tmp_path, change, why):
    dataset = dicom_dataset(RAMP)
    change(dataset)
    file = save_dicom(tmp_path / "a.dcm", dataset)
    with pytest.raises(UnusableImageError, match=why):
        read_frame(file)


def test_unknown_transfer_syntax_is_refused(tmp_path):
    file = dicom_file(tmp_path / "a.dcm", RAMP)
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(UnusableImageError, match="transfer syntax"):
        read_frame(file)


def test_files_that_are_not_dicom_are_refused(tmp_path):
    for name, content in {"a.dcm": b"", "b.dcm": b"text", "c.dcm": b"\0" * 128 + b"DICM"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnusableImageError):
            read_frame(tmp_path / name)


REFUSED = {
    "no_meta.dcm": "not a readable", "badVR.dcm": "not an image", "image_dfl.dcm": "deflated",
    "MR_truncated.dcm": "cut off",
    "JPEG2000-embedded-sequence-delimiter.dcm": "cannot be decoded", "SC_rgb_small_odd.dcm": "smaller than 8",
    "SC_rgb_small_odd_big_endian.dcm": "smaller than 8", "SC_rgb_small_odd_jpeg.dcm": "smaller than 8",
    **dict.fromkeys(("UN_sequence.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm", "priv_SQ.dcm",
                     "empty_charset_LEI.dcm"), "the size of the image is missing"),
}  # fmt: skip
DOCUMENTS = (
    "ExplVR_BigEndNoMeta", "ExplVR_LitEndNoMeta", "liver", "no_meta_group", "reportsi", "rtdose", "rtplan",
    "rtstruct", "test-SR", "waveform",
)  # fmt: skip


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_pydicom_sample_file_agrees_with_simpleitk_or_is_refused(file):
    """SimpleITK decodes and rescales with its own code; this test applies the window to its values."""
    if file.name in REFUSED:
        with pytest.raises(UnusableImageError, match=REFUSED[file.name]):
            read_frame(file)
        return
    if file.name.startswith(DOCUMENTS):
        assert read_header(file).is_document
        return
    ours = read_frame(file, read_header(file).frames - 1, Window(500, 3000))
    if file.name.startswith(("SC_rgb_rle_16bit", "SC_rgb_rle_32bit")):  # SimpleITK mixes up their bytes
        assert np.asarray(read_frame(file).image)[:41:20, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
        return
    try:
        reference = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))[-1].astype(float)
    except RuntimeError:
        pytest.skip("SimpleITK reads no such file")
    if ours.image.mode == "RGB":
        assert np.abs(np.asarray(ours.image) - reference).mean() < 2, "JPEG decoders differ by rounding"
        return
    expected = np.clip((reference + 1000) / 3000, 0, 1) * 255
    assert np.allclose(np.asarray(ours.image), expected, atol=1e-2)
