"""What the headers of DICOM and NIfTI files say: for their owner, before anything is trained.

Only `dcube data check` and `dcube data add` use this; nothing of it goes into a prepared data set.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from pydicom import DataElement

from dcube.data.file_cache import FileCache
from dcube.data.readers import nifti
from dcube.data.readers.dicom_header import iterate_elements, read_header
from dcube.data.readers.raw_image import UnusableImageError
from dcube.data.readers.stored_images import is_medical
from dcube.engine.progress import progress

# Besides every name of a person (VR PN): fields that tell who, where or when (PS3.15 E.1, those in plain text).
IDENTIFYING = frozenset(
    {
        "AccessionNumber", "AdditionalPatientHistory", "AdmissionID", "ClinicalTrialSubjectID",
        "CurrentPatientLocation", "DeviceSerialNumber", "EthnicGroup", "ImageComments", "InstitutionAddress",
        "InstitutionName", "InstitutionalDepartmentName", "InsurancePlanIdentification", "IssuerOfPatientID",
        "MedicalRecordLocator", "Occupation", "OtherPatientIDs", "PatientAddress", "PatientBirthDate",
        "PatientBirthTime", "PatientComments", "PatientID", "PatientInstitutionResidence",
        "PatientReligiousPreference", "PatientTelecomInformation", "PatientTelephoneNumbers", "PersonAddress",
        "PersonTelephoneNumbers", "ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers",
        "RequestingService", "StationName", "StudyComments", "StudyID", "VisitComments",
    }
)  # fmt: skip
FILES_AT_ONCE = 1024
Number = TypeVar("Number", int, float)
WANTED = ("Modality", "PatientID", "PixelSpacing", "WindowCenter")


@dataclass
class HeaderSummary:
    """Numbers of files, by what their headers say.

    Attributes:
        identifying: names of filled fields that may identify a person.
        missing: of the tags in `WANTED`, those that an image lacks.
        burned_in: whether the pixels show names: yes, no, or unsaid.
        frames, spacing: smallest and largest, of spacings in millimetres.
    """

    kinds: dict[str, int] = field(default_factory=dict)
    modalities: dict[str, int] = field(default_factory=dict)
    identifying: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    burned_in: dict[str, int] = field(default_factory=dict)
    frames: tuple[int, int] | None = None
    spacing: tuple[float, float] | None = None

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Of one file; raises `UnusableImageError` where it is too damaged."""
        if nifti.is_nifti(path):
            volume = nifti.open_volume(path)
            free_text = _counted(f"NIfTI {name}" for name in nifti.free_text(path))
            frames, spacing = (volume.slices,), volume.spacing
            return cls(_counted(["NIfTI"]), identifying=free_text, frames=_extent(frames), spacing=_extent(spacing))
        header, elements = read_header(path), list(iterate_elements(path))
        identifying = _counted({name for element in elements if (name := _identifying(element))})
        if header.is_document:
            return cls(_counted(["DICOM without an image"]), identifying=identifying)
        present = {element.keyword for element in elements if not element.is_empty}
        return cls(
            _counted(["DICOM"]),
            _counted([header.modality or "unsaid"]),
            identifying,
            _counted(set(WANTED) - present),
            _counted([{True: "yes", False: "no", None: "unsaid"}[header.burned_in]]),
            _extent((header.frames,)),
            _extent(header.spacing or ()),
        )

    def add(self, other: Self) -> None:
        """Count the files of another summary too."""
        for name in ("kinds", "modalities", "identifying", "missing", "burned_in"):
            counts = getattr(self, name)
            for value, count in getattr(other, name).items():
                counts[value] = counts.get(value, 0) + count
        self.frames = _extent((*(self.frames or ()), *(other.frames or ())))
        self.spacing = _extent((*(self.spacing or ()), *(other.spacing or ())))


def summarise_headers(folder: Path, files: Iterable[str], cache: FileCache) -> HeaderSummary:
    """Read the headers of all DICOM and NIfTI files that the cache does not know, also of those without an image."""
    found = HeaderSummary()
    medical = [folder / file for file in files if is_medical(folder / file)]
    with progress("Reading headers", total=len(medical), unit="files") as advance:
        for start in range(0, len(medical), FILES_AT_ONCE):
            some = medical[start : start + FILES_AT_ONCE]
            known = cache.recall(some)
            read: dict[Path, dict] = {}
            for path in some:
                if path in known:
                    found.add(HeaderSummary(**known[path]))
                elif one := _read(path):
                    found.add(one)
                    read[path] = asdict(one)
                else:
                    found.add(HeaderSummary(_counted(["unreadable"])))
                advance()
            cache.remember(read)
    return found


def _read(path: Path) -> HeaderSummary | None:
    try:
        return HeaderSummary.of_file(path)
    except UnusableImageError:
        return None


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(sorted(names), 1)


def _extent(values: Sequence[Number]) -> tuple[Number, Number] | None:
    return (min(values), max(values)) if values else None


def _identifying(element: DataElement) -> str:
    """The element's name where it may identify a person, else nothing."""
    if element.tag.is_private:
        return "private tags"
    named = not element.is_empty and (element.VR == "PN" or element.keyword in IDENTIFYING)
    return element.keyword if named else ""
