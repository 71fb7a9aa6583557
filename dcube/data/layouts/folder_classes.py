"""Detection of folders that look like classes but are not: archive parts, splits, patients, or just `images`."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from dcube.data.layouts.raw_dataset import ImageRecord
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.layouts.shared_subfolders import shared_subfolders
from dcube.data.readers.stored_images import StoredImage
from dcube.errors import DcubeError, abbreviated

WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+|[^\w\s.-]|^-|-$")
SAYS_NOTHING = re.compile(
    r"(image|img|picture|photo|dicom|file|input|part|split)s?|dcm|png|jpe?g|tiff?|nii|nifti|fold|batch|folder|dir|archive|"
    r"set|dataset|data|dis[ck]|base|tr|ts|train(ing)?|test(ing)?|val(id|idation)?|dev"
)
LONG_NUMBER = re.compile(r"0\d{2,}|\d{4,}")  # of a patient, not of a grade


def refuse_unlikely_classes(raw: RawFiles, records: Mapping[StoredImage, ImageRecord]) -> None:
    """Refuse folders that are probably not classes, judged by their names or by a table with other labels.

    Raises:
        DcubeError: if the folders are unlikely classes; the message names them and the table, if there is one.
    """
    labels = {image.file: record.label for image, record in records.items() if record.label}
    classes = sorted(set(labels.values()))
    if _say_nothing(list({name.strip().casefold(): name for name in classes}.values())):  # case is checked elsewhere
        raise DcubeError(
            f"{raw.path}: the folders {abbreviated(classes)} look like patients or parts of an archive, and not like "
            f"classes: {labelling_hint(raw)}"
        )
    shared = shared_subfolders(records.values())
    if shared and not _say_nothing(shared):
        raise DcubeError(
            f"{raw.path}: the folders {abbreviated(classes)} all hold the folders {abbreviated(shared)}, and nothing "
            f"tells which of these are the classes: {labelling_hint(raw)}; splits are called train, val and test"
        )
    for table in raw.naming_tables:
        agree = len({label.casefold() for label in classes} & table.others) > 1
        if table.others and not agree and {labels[file] for file in table.named if file in labels} == set(classes):
            raise DcubeError(
                f"{raw.path}: the labels would be the folders {abbreviated(classes)}, and {table.file} names the "
                f"images with other ones: {labelling_hint(raw)}; or remove the table"
            )


def labelling_hint(raw: RawFiles) -> str:
    """Return an instruction on how to label the images, for error texts."""
    tables = sorted(raw.naming_tables, key=lambda table: (bool(table.others), len(table.named)), reverse=True)
    source = f" from {tables[0].file}, whose column {tables[0].column!r} names the images" if tables else ""
    return f"put the images into one folder for each class, or write a metadata.csv (file, label, patient_id){source}"


def _say_nothing(names: Sequence[str]) -> bool:
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
