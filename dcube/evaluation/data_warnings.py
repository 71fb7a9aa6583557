"""Warnings about data that make the metrics of any model doubtful, for every page that shows such metrics."""

from dcube.artifacts.schemas.dataset import DatasetInfo

COPIES = "re-encoded, resized or brightened copies"


def data_warnings(info: DatasetInfo) -> list[str]:
    """Return one sentence per warning, without names of files or patients."""
    found = [f"{warning[:1].upper()}{warning[1:].removesuffix('.')}." for warning in info.warnings]
    near = info.near_duplicates
    if near and (count := len(near.in_several_splits)):
        found.append(f"Pictures in several splits, as {COPIES}: {count}. Metrics are too high where test holds them.")
    if near and (count := len(near.with_several_labels)):
        found.append(f"Pictures with several labels, as {COPIES}: {count}. Some of these labels are wrong.")
    return found
