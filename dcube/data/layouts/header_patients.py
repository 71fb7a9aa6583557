"""Patients that contradict the DICOM headers: images of one series, study or person under several patients.

A value that all images share, as some programs write in the place of what they remove, tells nothing.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from dcube.data.readers.stored_images import StoredImage
from dcube.errors import DcubeError, abbreviated

Patients = Mapping[StoredImage, str]  # the patient of each image; empty if unknown
UNIQUE = {"series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}  # each is of one person, by the standard
STUDIES = {"study": "studies", "series": "series"}


def refuse_divided_series(patients: Patients, where: str) -> None:
    """Refuse images of one series, or copies of one image, whose headers name several patients.

    Patients that a table gives are for `describe_divided_people`.

    Raises:
        DcubeError: if there are such images; the message names their files.
    """
    of_headers = {image: patient for image, patient in patients.items() if patient == image.patient}
    for attribute, keyword in UNIQUE.items():
        for files in _divided(of_headers, attribute):
            raise DcubeError(
                f"{where}: images with one {keyword} name several patients, or only some name one "
                f"({abbreviated(files)}), and would be in several splits: correct PatientID, or give patient_id in "
                "metadata.csv"
            )


def describe_divided_people(patients: Patients) -> Iterator[str]:
    """Yield a sentence for studies and for people that are divided into several patients. It names no file."""
    named = {image: patient for image, patient in patients.items() if not image.stands_in or patient != image.patient}
    studies = ((len(_divided(named, attribute)), plural) for attribute, plural in STUDIES.items())
    if found := next(((count, plural) for count, plural in studies if count), None):
        yield (
            f"{found[0]} DICOM {found[1]} have images of several patients, but each is of one person, who may then "
            "be in several splits: correct PatientID, or give patient_id in metadata.csv"
        )
    if people := len(_divided({image: patient for image, patient in named.items() if not image.stands_in}, "patient")):
        yield (
            f"{people} patients of the DICOM headers (PatientID) are several patients in metadata.csv, and may be in "
            "several splits: correct patient_id"
        )


def _divided(patients: Patients, attribute: str) -> list[list[str]]:
    """Return a file of each patient, for each value of a header attribute that several patients share."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for image, patient in patients.items():
        if patient and image.modality and (value := getattr(image, attribute)):
            found[value].setdefault(patient, image.file)
    return [list(files.values()) for files in found.values() if len(files) > 1] if len(found) > 1 else []
