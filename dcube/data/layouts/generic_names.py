"""Names of folders that say nothing about the images in them: parts of an archive, splits, patients, or `images`."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+|[^\w\s.-]|^-|-$")
SAYS_NOTHING = re.compile(
    r"(image|img|picture|photo|dicom|file|input|part|split)s?|dcm|png|jpe?g|tiff?|nii|nifti|fold|batch|folder|dir|archive|"
    r"set|dataset|data|dis[ck]|base|tr|ts|train(ing)?|test(ing)?|val(id|idation)?|dev"
)
LONG_NUMBER = re.compile(r"0\d{2,}|\d{4,}")  # of a patient, not of a grade


def say_nothing(names: Sequence[str]) -> bool:
    """Return whether a name has only generic words and numbers, or two names differ only in these."""
    words = [tuple(word.casefold() for word in WORD.findall(name)) for name in names]
    meant = [tuple(filter(_is_meant_in(name), name)) for name in words]
    common = set.intersection(*map(set, words)) if len(words) > 1 else set()
    apart = Counter(tuple(word for word in name if word not in common) for name in meant)
    alone = any(not kept and any(map(SAYS_NOTHING.fullmatch, name)) for kept, name in zip(meant, words, strict=True))
    return alone or any(count > 1 for count in apart.values())


def _is_meant_in(name: Sequence[str]) -> Callable[[str], bool]:
    """Return a predicate: whether a word of the name can tell a class, as 1 does in `grade 1` but not in `part 1`."""
    is_part = any(map(SAYS_NOTHING.fullmatch, name))
    return lambda word: (
        not (SAYS_NOTHING.fullmatch(word) or LONG_NUMBER.fullmatch(word) or (is_part and word.isdigit()))
    )
