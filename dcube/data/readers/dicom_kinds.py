"""The kind of a DICOM file by its header: an image of a patient, an auxiliary image of a series, or no image."""

import re
from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import UID

# Names of the storage SOP classes (PS3.4 B.5). Segmentations, doses and maps have pixels, but are not images.
STORAGE = re.compile(r"\bStorage\b")
IMAGE_CLASS = re.compile(r"(?<!\bRT )\bImage Storage\b|\bUS Volume Storage\b")
WITHOUT_IMAGE = frozenset(  # modalities (PS3.3 C.7.3.1.1.1)
    re.findall(
        r"\w+", "AU DOC FID HD KO M3D PLAN PR REG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV SEG SMR SR TEXTUREMAP"
    )
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame forms below
SLICED = ("CT", "MR", "NM", "PT")

LOCALIZER = re.compile(r"LOCALI[SZ]ER|LOCALISATEUR|LOKALI[SZ]ER|SCOUT|TOPOGRAM|SCANOGRAM|SURVIEW")
SHORT_LOCALIZER = re.compile(r"\bLOC\b|^SURVEY\b|\b(THREE|3) PLANE\b")  # a skeletal survey (X-ray) is not a localizer
TIMING = re.compile(r"\bSMART ?PREP\b|\bBOLUS TRACKING\b|\b(PRE|POST) ?MONITORING\b|^MONITORING\b|^CALIBRATION\b")
SCREEN = re.compile(
    r"\bDOSE (REPORT|INFO|RECORD|SUMMARY)|\bRADIATION DOSE\b|^(DOSE|SUMMARY)$|\bPATIENT PROTOCOL\b"
    r"|\bSCREEN ?(SAVE|SHOT)|\bSCREEN CAPTURE"
)
REFORMATTED = re.compile(r"\b(MPR|MIP|MIN ?IP|REFORMATTED|PROJECTION IMAGE)\b")  # matched with the image type
REFORMATTED_SERIES = re.compile(r"\b(MIP|MIN ?IP)\b")  # without MPR, because MPRAGE series are called t1_mpr

OF_PATIENT = "reformatted from the slices"


def text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def is_document(dataset: Dataset) -> bool:
    """Return whether the file is a report, a plan, a segmentation or a map, by its modality and SOP class.

    A file of a private SOP class is a document if it has no pixels. A file that says nothing is not a document.
    """
    if text(dataset, "Modality") in WITHOUT_IMAGE:
        return True
    own = text(dataset, "SOPClassUID")
    name = UID(own or str(dataset.file_meta.get("MediaStorageSOPClassUID") or "")).name
    if STORAGE.search(name):
        return not IMAGE_CLASS.search(name)
    return bool(own) and not dataset.get("Rows")


def auxiliary_kind(dataset: Dataset) -> str:
    """Return the kind of an auxiliary image; empty for a proper image of a series.

    The image type (PS3.3 C.8.2.1.1.1), the SOP class and the scanners' usual names of series are used.
    """
    value = dataset.get("ImageType") or []
    types = _words([value] if isinstance(value, str) else map(str, value))
    series = _words([text(dataset, "SeriesDescription")])
    sliced = text(dataset, "Modality") in SLICED
    called = LOCALIZER.search(series) or SHORT_LOCALIZER.search(series)  # an abdominal scout film is an image
    if LOCALIZER.search(types) or (sliced and called):
        return "localizer"
    if SCREEN.search(types) or SCREEN.search(series):
        return "dose report or screen picture"
    if sliced and TIMING.search(series):
        return "timing or calibration"
    if text(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE):
        return "secondary capture"
    is_derived = sliced and types.startswith("DERIVED")
    return OF_PATIENT if is_derived and (REFORMATTED.search(types) or REFORMATTED_SERIES.search(series)) else ""


def _words(names: Iterable[str]) -> str:
    return re.sub(r"[_\W]+", " ", " ".join(names)).strip().upper()
