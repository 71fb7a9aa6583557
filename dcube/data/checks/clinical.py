"""Summary of DICOM and NIfTI headers, for the owner of the files to see before training.

Only `dcube data check` and `dcube data add` use it. A prepared data set contains nothing of it.
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

# Plain-text fields that tell who, where or when (PS3.15 E.1). Every name of a person (VR PN) counts too.
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
    """Numbers of files by the values in their headers.

    Attributes:
        kinds: files by kind, e.g. `DICOM`.
        modalities: DICOM images by modality.
        identifying: files by the names of filled fields that may identify a person.
        missing: DICOM images by the tags of `WANTED` that they lack.
        burned_in: DICOM images by whether the pixels show annotations: yes, no or unsaid.
        frames: smallest and largest number of frames or slices.
        spacing: smallest and largest spacing, in millimetres.
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
        """Summarise one file; raise `UnusableImageError` if it is too damaged to read."""
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
        """Add the counts and extents of another summary to this one."""
        for name in ("kinds", "modalities", "identifying", "missing", "burned_in"):
            counts = getattr(self, name)
            for value, count in getattr(other, name).items():
                counts[value] = counts.get(value, 0) + count
        self.frames = _extent((*(self.frames or ()), *(other.frames or ())))
        self.spacing = _extent((*(self.spacing or ()), *(other.spacing or ())))


def summarise_headers(folder: Path, files: Iterable[str], cache: FileCache) -> HeaderSummary:
    """Summarise the headers of all DICOM and NIfTI files, also of those without an image.

    Files that the cache knows are not read again.
    """
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
    """Return the element's name if it may identify a person, else an empty string."""
    if element.tag.is_private:
        return "private tags"
    named = not element.is_empty and (element.VR == "PN" or element.keyword in IDENTIFYING)
    return element.keyword if named else ""
