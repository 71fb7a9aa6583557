"""Names of sequences, views and series: what an image was acquired as, and not what it shows."""

import re

VIEW = re.compile(
    r"t1(?:w|ce?|n|gd)?|t2[wf]?|pdw?|flair|dwi|dti|adc|swi|dce|bold|axial|coronal|sagittal|ax|cor|sag|left|right|od|os"
    r"|cc|mlo|ap|pa|lat|lateral|frontal|anterior|posterior|pre|post|contrast|arterial|venous|portal|delayed|native"
    r"|baseline|follow|up|followup|rest|stress|ct|mri?|us|pet|xray|dicom|series|study|scan|visit|session"
)


def are_views(name: str) -> bool:
    """Return whether a name has no other words than those of views."""
    return all(map(VIEW.fullmatch, re.findall(r"[^\W_]+", name.casefold())))
