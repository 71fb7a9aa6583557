"""What the headers of DICOM and NIfTI files say: for their owner, before anything is trained.

Only `dcube data check` and `dcube data add` use this; nothing of it goes into a prepared data set.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import DataElement

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

    def add(self, path: Path) -> None:
        """Count one file; raises `UnusableImageError` where it is too damaged."""
        if nifti.is_nifti(path):
            volume = nifti.open_volume(path)
            _count(self.kinds, ["NIfTI"])
            _count(self.identifying, [f"NIfTI {name}" for name in nifti.free_text(path)])
            self._widen(volume.slices, volume.spacing)
            return
        header, elements = read_header(path), list(iterate_elements(path))
        _count(self.kinds, ["DICOM without an image" if header.is_document else "DICOM"])
        _count(self.identifying, {name for element in elements if (name := _identifying(element))})
        if not header.is_document:
            _count(self.modalities, [header.modality or "unsaid"])
            _count(self.burned_in, [{True: "yes", False: "no", None: "unsaid"}[header.burned_in]])
            present = {element.keyword for element in elements if not element.is_empty}
            _count(self.missing, set(WANTED) - present)
            self._widen(header.frames, header.spacing or ())

    def _widen(self, frames: int, spacing: Iterable[float]) -> None:
        known = (frames, frames) if self.frames is None else self.frames
        self.frames = min(known[0], frames), max(known[1], frames)
        lengths = [*spacing, *(self.spacing or ())]
        self.spacing = (min(lengths), max(lengths)) if lengths else None


def summarise_headers(folder: Path, files: Iterable[str]) -> HeaderSummary:
    """Read the headers of all DICOM and NIfTI files, also of those without an image."""
    found = HeaderSummary()
    medical = [folder / file for file in files if is_medical(folder / file)]
    with progress("Reading headers", total=len(medical), unit="files") as advance:
        for path in medical:
            try:
                found.add(path)
            except UnusableImageError:
                _count(found.kinds, ["unreadable"])
            advance()
    return found


def _count(counts: dict[str, int], names: Iterable[str]) -> None:
    for name in sorted(names):
        counts[name] = counts.get(name, 0) + 1


def _identifying(element: DataElement) -> str:
    """The element's name where it may identify a person, else nothing."""
    if element.tag.is_private:
        return "private tags"
    named = not element.is_empty and (element.VR == "PN" or element.keyword in IDENTIFYING)
    return element.keyword if named else ""
