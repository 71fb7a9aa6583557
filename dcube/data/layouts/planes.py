"""Detection of slices in another plane than a patient's other slices: localizers whose headers do not say so."""

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from dcube.data.readers.dicom_kinds import SLICED
from dcube.data.readers.stored_images import StoredImage

OTHER_PLANE = "in another plane than the rest of their patient, as localizers are: remove these if they are some"
COSINE = 0.9  # about 25 degrees: a tilted gantry is not another plane
MOST = 0.2  # of a patient's slices; a larger part is a series of its own


def slices_in_other_planes(images: Iterable[StoredImage]) -> list[str]:
    """Return the names of slices in another plane than most of their patient's slices, if they are few."""
    patients: dict[str, list[StoredImage]] = defaultdict(list)
    for image in images:
        if image.normal and image.modality in SLICED:
            patients[image.patient].append(image)
    found = []
    for slices in patients.values():
        usual = Counter(image.normal for image in slices).most_common(1)[0][0]
        across = [image.name for image in slices if abs(np.dot(image.normal, usual)) < COSINE]  # type: ignore[arg-type]
        found += across if len(across) <= MOST * len(slices) else []
    return found
