"""`data check`, `data add`, `prepare` and `predict` apply the same rules to folders with problems."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from dcube.config.schema import Data
from dcube.data.adding import add_dataset
from dcube.data.inspection import inspect_dataset
from dcube.data.preparing import prepare
from dcube.data.readers.raw_image import UnusableImageError
from dcube.errors import DcubeError
from dcube.inference.inputs import collect_images
from tests.support.medical_files import RAMP, dicom_dataset, dicom_file, save_dicom
from tests.support.raw_sets import class_folders, noise, save

PLAIN = Data(name="set", image_size=16, diffusion_image_size=16)
UNUSED = "table that is not used here"
MASK = "mask or thumbnail of an image"
CLASSES = ("ill", "well")
PICTURE = noise(0)  # ill/00.png


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))


@dataclass(frozen=True)
class Kind:
    """What is added to two classes of ten images each, and the expected outcome.

    Attributes:
        left_out: number of files that are left out, by reason.
        refused: part of the error; empty if the set is used.
        images: how many images `predict` finds; 0 if it refuses the folder too.
        unreadable: how many of these it cannot read.
        same: whether the set shows the same pictures as before.
    """

    build: Callable[[Path], object]
    left_out: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    images: int = 20
    unreadable: int = 0
    same: bool = False


def masks(raw: Path) -> None:
    for label in CLASSES:
        for i in range(10):
            save(raw / label / f"{i:02d}_mask.png", noise(900 + i))


def hospitals(raw: Path) -> None:
    shutil.rmtree(raw)
    for number, name in enumerate(("north", "south")):
        class_folders(raw / name, images=5)
        save(raw / name / "ill" / "00.png", noise(700 + number))


def studies(raw: Path) -> None:
    """Two classes of ten DICOM slices, one of them a localizer, in files without a suffix."""
    shutil.rmtree(raw)
    for c, label in enumerate(CLASSES):
        for i in range(11):
            name = {} if i < 10 else {"SeriesDescription": "Topogram"}
            pixels = np.roll(RAMP, 40 * i + 7 * c)
            dicom_file(raw / label / f"1.2.826.{i}", pixels, PatientID=f"{c}-{i}", BitsStored=12, **name)


def split_in_words(raw: Path) -> None:
    """The folders of Kaggle's brain tumours."""
    shutil.rmtree(raw)
    for number, split in enumerate(("Training", "Testing")):
        for c, label in enumerate(CLASSES):
            for i in range(5):
                save(raw / split / label / f"{i}.png", noise(100 * number + 10 * c + i))


def label_maps(raw: Path) -> None:
    for i in range(10):
        values = np.random.default_rng(i).integers(0, 3, (24, 24)).astype(np.uint8)
        save(raw / "ill" / f"{i:02d}_tumor.png", values)


def table(titles: str, label: str = "0") -> Callable[[Path], None]:
    """A table of all images; the last image has the given label."""

    def write(raw: Path) -> None:
        rows = [f"{c}/{i:02d}.png,{number}" for number, c in enumerate(CLASSES) for i in range(10)]
        rows[-1] = f"well/09.png,{label}"
        (raw / "metadata.csv").write_text("\n".join([titles, *(row + ",x" * (titles.count(",") - 1) for row in rows)]))

    return write


def names_by_scanners(raw: Path) -> None:
    """Names by UID or number, beside files with a suffix; one without a preamble."""
    shutil.rmtree(raw)
    names = ("0.dcm", "CT.1.2.826.0.1", "image.004", "1.2.840.113619", "IM000001")
    for c, label in enumerate(CLASSES):
        for i in range(10):
            name = names[i % 5] if i < 5 else f"more/{names[i % 5]}"
            file = dicom_file(raw / label / name, np.roll(RAMP, 40 * i + 7 * c), PatientID=f"{c}-{i}", BitsStored=12)
            if i == 3:
                file.write_bytes(file.read_bytes()[132:])


def captures(raw: Path) -> None:
    studies(raw)
    for label in CLASSES:
        kind = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}
        dicom_file(raw / label / "dose", RAMP, SeriesDescription="Dose Report", **kind)
        dicom_file(raw / label / "photo", RAMP, **kind)


def intercept_without_slope(raw: Path) -> None:
    tags = {"RescaleIntercept": -1024, "RescaleSlope": None, "WindowCenter": 127.5, "WindowWidth": 256}
    dicom_file(raw / "ill" / "0.dcm", PICTURE.astype(np.uint16) + 1024, **tags)


def odd_table(raw: Path) -> None:
    """A VOI LUT of 255 packed entries of 8 bits, the last of which are equal to those of a longer one."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [255, 0, 8])
    item.add_new("LUTData", "OW", bytes(range(255)) + b"\0")
    dicom_file(raw / "ill" / "0.dcm", PICTURE.astype(np.uint16), VOILUTSequence=[item])


def cut_picture(raw: Path) -> None:
    image = Image.fromarray(np.dstack([noise(i, (200, 200)) for i in range(3)]))
    image.save(raw / "ill" / "cut.jpg")
    content = (raw / "ill" / "cut.jpg").read_bytes()
    (raw / "ill" / "cut.jpg").write_bytes(content[: len(content) // 2] + b"\xff\xd9")


def cut_dicom(raw: Path) -> None:
    file = dicom_file(raw / "ill" / "cut.dcm", RAMP)
    file.write_bytes(file.read_bytes()[:450])


def negative(raw: Path) -> None:
    tifffile.imwrite(raw / "ill" / "signed.tif", (noise(1).astype(int) - 128).astype(np.int8))


def turned(raw: Path) -> None:
    """Orientation 6: the picture is to be turned by a quarter, clockwise."""
    tag = (ExifTags.Base.Orientation, "H", 1, 6, True)
    tifffile.imwrite(raw / "ill" / "0.tif", np.rot90(PICTURE), photometric="minisblack", extratags=[tag])


def white_is_zero(raw: Path) -> None:
    tifffile.imwrite(raw / "ill" / "0.tif", 65535 - PICTURE.astype(np.uint16) * 257, photometric="miniswhite")


def negative_table(raw: Path) -> None:
    """A VOI LUT that begins below 0, in a file that does not say that it does (implicit VR)."""
    table = Dataset()
    table.add_new("LUTDescriptor", "SS", [256, -128, 8])
    table.add_new("LUTData", "US", list(range(256)))
    dataset = dicom_dataset(PICTURE.astype(np.int16) - 128, VOILUTSequence=[table])
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    save_dicom(raw / "ill" / "0.dcm", dataset)


def masked_jpeg_ls(raw: Path) -> None:
    """Signed values of 13 bits without their sign in a stream of 16 bits."""
    values = np.rint(PICTURE / 255 * 8191).astype(np.int16) - 4096
    dataset = dicom_dataset(values, BitsStored=13)
    dataset.PixelData = encapsulate([imagecodecs.jpegls_encode(values.view(np.uint16) & 0x1FFF)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    save_dicom(raw / "ill" / "0.dcm", dataset)


def decimal_comma(raw: Path) -> None:
    file = dicom_file(raw / "ill" / "0.dcm", RAMP, RescaleSlope="1", RescaleIntercept="10.24")
    file.write_bytes(file.read_bytes().replace(b"10.24", b"10,24"))


def floats(raw: Path) -> None:
    dataset = dicom_dataset(RAMP, BitsAllocated=32)
    for unused in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, unused)
    dataset.FloatPixelData = RAMP.astype("<f4").tobytes()
    save_dicom(raw / "ill" / "0.dcm", dataset)


def bomb(raw: Path) -> None:
    """A header of 16 × 16 pixels around a JPEG 2000 stream of 400 megapixels."""
    dataset = dicom_dataset(np.zeros((16, 16), np.uint8))
    stream = imagecodecs.jpeg2k_encode(np.zeros((16, 16), np.uint8), codecformat="j2k", level=0)
    dataset.PixelData = encapsulate([stream.replace((16).to_bytes(4), (20_000).to_bytes(4))])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    save_dicom(raw / "ill" / "0.dcm", dataset)


def stored_otherwise(build: Callable[[Path], None]) -> Callable[[Path], None]:
    def replace(raw: Path) -> None:
        (raw / "ill" / "00.png").unlink()
        build(raw)

    return replace


def unreadable(build: Callable[[Path], object], why: str) -> Kind:
    return Kind(build, refused=why, images=21, unreadable=1)


KINDS = {
    "A: masks beside images": Kind(masks, {MASK: 20}),
    "A: folders above the classes": Kind(hospitals, refused="the folders north, south all hold the folders ill, well"),
    "A: a class called like masks": Kind(
        lambda raw: class_folders(raw, ("thumb",)), {MASK: 10}, "thumb may be a class, or hold masks or thumbnails"
    ),
    "A and B: slices by their content, and localizers": Kind(studies, {"localizer": 2}),
    "A: splits in other words": Kind(split_in_words),
    "A: label maps with ordinary names": Kind(label_maps, refused="few grey levels, and the names", images=30),
    "A: thumbnails of network storage": Kind(
        lambda raw: save(raw / "ill" / "@eaDir" / "00.png" / "SYNOPHOTO_THUMB_M.png", noise(1)), {"thumbnail": 1}
    ),
    "A: dose reports and secondary captures": Kind(
        captures, {"localizer": 2, "dose report or screen picture": 2, "secondary capture": 2}
    ),
    "A: a class in two spellings": Kind(
        lambda raw: save(raw / "Well" / "x.png", noise(1)), refused="'Well' (1) and 'well' (10) differ", images=21
    ),
    "A: a class nan": Kind(
        lambda raw: save(raw / "nan" / "x.png", noise(1)), refused="1 image has the label 'nan'", images=21
    ),
    "A: labels 0 and 0.0": Kind(table("file,label", "0.0"), {UNUSED: 1}, "'0' (10) and '0.0' (1) differ"),
    "A: a label nan in a table": Kind(table("file,label", "nan"), {UNUSED: 1}, "1 image has the label 'nan'"),
    "A: a column twice": Kind(table("file,label,label"), {UNUSED: 1}, "the column 'label' is there 2 times"),
    "B: names by UID and number beside a suffix": Kind(names_by_scanners),
    "C: an intercept without a slope": Kind(stored_otherwise(intercept_without_slope), same=True),
    "C: a packed VOI LUT of an odd number of entries": Kind(stored_otherwise(odd_table), same=True),
    "B: other formats": Kind(
        lambda raw: Image.fromarray(noise(1)).save(raw / "ill" / "a.gif"),
        {"format that is not read: convert it to PNG, DICOM or NIfTI": 1},
    ),
    "C: a JPEG that decodes half grey": unreadable(cut_picture, "damaged"),
    "C: a DICOM file that is cut off": unreadable(cut_dicom, "damaged, perhaps cut off"),
    "C: values below 0": unreadable(negative, "signed 8-bit values below 0"),
    "C: a turned TIFF": Kind(stored_otherwise(turned), same=True),
    "C: a TIFF whose 0 is white": Kind(stored_otherwise(white_is_zero), same=True),
    "C: a VOI LUT that begins below 0": Kind(stored_otherwise(negative_table), same=True),
    "C: a JPEG-LS without its signs": Kind(stored_otherwise(masked_jpeg_ls), same=True),
    "C: a decimal comma": unreadable(decimal_comma, "RescaleIntercept is not a number"),
    "C: float pixels": unreadable(floats, "floats without a window"),
    "C: frames that nothing counts": unreadable(
        lambda raw: dicom_file(raw / "ill" / "0.dcm", np.stack([RAMP] * 10)), "the number of frames is missing"
    ),
    "C: a raw photo": unreadable(
        lambda raw: tifffile.imwrite(raw / "ill" / "0.dng", noise(1), photometric="minisblack"), "a raw photo"
    ),
    "C: transparent throughout": unreadable(
        lambda raw: Image.fromarray(np.dstack([noise(1)] * 3 + [0 * noise(1)])).save(raw / "ill" / "0.png"),
        "transparent throughout",
    ),
    "a bomb": unreadable(bomb, "damaged or hostile: the compressed pixels are 20000 × 20000 pixels"),
    "D: a broken link": Kind(lambda raw: (raw / "ill" / "x.png").symlink_to("gone"), refused="broken link", images=0),
    "D: a linked folder": Kind(
        lambda raw: (raw / "ill" / "more").symlink_to(raw / "well"), refused="link to a folder", images=0
    ),
    "D: a cycle": Kind(lambda raw: (raw / "ill" / "up").symlink_to(raw), refused="link to a folder", images=0),
    "D: a pipe": Kind(lambda raw: os.mkfifo(raw / "ill" / "x.png"), refused="named pipe", images=0),
}


@pytest.mark.parametrize("name", KINDS)
def test_check_add_prepare_and_predict_agree(tmp_path, name):
    kind, raw, stored = KINDS[name], class_folders(tmp_path / "raw"), tmp_path / "data" / "set"
    kind.build(raw)
    if kind.refused:
        assert kind.refused in problem(lambda: inspect_dataset(raw, PLAIN).problem)
        assert kind.refused in problem(lambda: add_dataset(PLAIN, raw, stored))
        assert not stored.exists()
        refusal = problem(lambda: prepare(raw, PLAIN, tmp_path / "prepared"))  # prepare names no file of a patient
        assert kind.refused in refusal or "data check" in refusal
    else:
        for report in (inspect_dataset(raw, PLAIN), add_dataset(PLAIN, raw, stored)):
            assert report.images == 20 and not report.problem and counted(report.left_out) == kind.left_out
        assert len(prepare(stored, PLAIN, tmp_path / "prepared").manifest) == 20
    if kind.same:
        plain = class_folders(tmp_path / "plain")
        prepare(plain, PLAIN, tmp_path / "plain_prepared")
        arrays = [np.load(tmp_path / name / "images-16.npy").astype(int) for name in ("prepared", "plain_prepared")]
        assert is_same_set(*arrays)
        assert is_same_set(pictures(raw), pictures(plain))
    if not kind.images:
        assert kind.refused in problem(lambda: predicted(raw))
    else:
        assert predicted(raw) == (kind.images, kind.unreadable, kind.left_out)


def problem(run: Callable[[], object]) -> str:
    try:
        return str(run())
    except DcubeError as error:
        return str(error)


def counted(left_out: Mapping[str, list[str]]) -> dict[str, int]:
    return {why: len(files) for why, files in left_out.items()}


def is_same_set(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether the images are the same, in any order, up to rounding."""
    return len(found) == len(expected) and all(np.abs(found - one).max(axis=(1, 2, 3)).min() <= 1 for one in expected)


def pictures(raw: Path) -> np.ndarray:
    """What `predict` reads, (N, 1, h, w)."""
    with collect_images([raw]) as (images, _):
        return np.stack([np.asarray(image.read(None).image, float)[None] for image in images])


def predicted(raw: Path) -> tuple[int, int, dict[str, int]]:
    """How many images `predict` finds, how many of these it cannot read, and what it leaves out."""
    with collect_images([raw]) as (images, left_out):
        unreadable = 0
        for image in images:
            try:
                image.read(None)
            except UnusableImageError:
                unreadable += 1
        return len(images), unreadable, counted(left_out)


def test_nested_archives_are_refused_by_every_command(tmp_path):
    """`add` and `predict` unpack one archive; `check` and `prepare` see the folder of archives."""
    for label in CLASSES:
        class_folders(tmp_path / label, (label,))
        shutil.make_archive(str(tmp_path / "set" / label), "zip", tmp_path / label)
    outer = Path(shutil.make_archive(str(tmp_path / "outer"), "zip", tmp_path / "set"))
    why = "contains no images, but 2 × compressed file: unpack it (ill.zip, well.zip)"
    assert why in problem(lambda: inspect_dataset(tmp_path / "set", PLAIN))
    assert why in problem(lambda: add_dataset(PLAIN, outer, tmp_path / "data" / "set"))
    assert "data check" in problem(lambda: prepare(tmp_path / "set", PLAIN, tmp_path / "prepared"))
    assert "but 2 × compressed file: unpack it" in problem(lambda: predicted(outer))
