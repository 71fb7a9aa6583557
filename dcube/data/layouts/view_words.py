"""Names of sequences, views and series: what an image was acquired as, and not what it shows."""

import re

VIEW = re.compile(
    r"t1|t2|pd|flair|dwi|adc|swi|dce|axial|coronal|sagittal|ax|cor|sag|left|right|od|os|cc|mlo|ap|pa|lat|lateral|frontal"
    r"|anterior|posterior|pre|post|contrast|arterial|venous|portal|delayed|native|baseline|follow|up|rest|stress|ct|mri?|us"
    r"|pet|xray|dicom|series|study|scan|visit|session"
)


def are_views(name: str) -> bool:
    """Return whether the name of a folder has no other words than those of views."""
    return all(map(VIEW.fullmatch, re.findall(r"[^\W_]+", name.casefold())))
