"""Detection of folders that look like classes but are not: archive parts, splits, patients, or just `images`."""

from collections.abc import Mapping

from dcube.data.layouts.folders_below import FoldersBelow
from dcube.data.layouts.generic_names import say_nothing
from dcube.data.layouts.raw_dataset import ImageRecord
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.readers.stored_images import StoredImage
from dcube.errors import DcubeError, abbreviated


def refuse_unlikely_classes(raw: RawFiles, records: Mapping[StoredImage, ImageRecord]) -> None:
    """Refuse folders that are probably not classes, judged by their names or by a table with other labels.

    Raises:
        DcubeError: if the folders are unlikely classes; the message names them and the table, if there is one.
    """
    labels = {image.file: record.label for image, record in records.items() if record.label}
    classes = sorted(set(labels.values()))
    if say_nothing(list({name.strip().casefold(): name for name in classes}.values())):  # case is checked elsewhere
        raise DcubeError(
            f"{raw.path}: the folders {abbreviated(classes)} look like patients or parts of an archive, and not like "
            f"classes: {labelling_hint(raw)}"
        )
    below = FoldersBelow.of(records)
    if shared := below.shared():
        raise DcubeError(
            f"{raw.path}: the folders {abbreviated(classes)} all hold the folders {abbreviated(shared)}, and nothing "
            f"tells which of these are the classes: {labelling_hint(raw)}; splits are called train, val and test"
        )
    if inner := below.inner():
        raise DcubeError(
            f"{raw.path}: the folders {abbreviated(classes)} hold folders with images "
            f"({abbreviated(inner)}), and nothing tells which of these are the classes: {labelling_hint(raw)}"
        )
    for table in raw.naming_tables:
        agree = len({label.casefold() for label in classes} & table.others) > 1
        if table.others and not agree and {labels[file] for file in table.named if file in labels} == set(classes):
            raise DcubeError(
                f"{raw.path}: the labels would be the folders {abbreviated(classes)}, and {table.file} names the "
                f"images with other ones: {labelling_hint(raw)}; or remove the table"
            )
    if outcomes := below.outcomes():
        raise DcubeError(
            f"{raw.path}: the labels would be the folders {abbreviated(classes)}, and the names below these say "
            f"{abbreviated(outcomes)}: {labelling_hint(raw)}"
        )


def labelling_hint(raw: RawFiles) -> str:
    """Return an instruction on how to label the images, for error texts."""
    tables = sorted(raw.naming_tables, key=lambda table: (bool(table.others), len(table.named)), reverse=True)
    source = f" from {tables[0].file}, whose column {tables[0].column!r} names the images" if tables else ""
    return f"put the images into one folder for each class, or write a metadata.csv (file, label, patient_id){source}"
