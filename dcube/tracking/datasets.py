"""The data set of a run as MLflow knows it: an input with a digest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcube.artifacts.layout import PREPARED
from dcube.data.prepared import PreparedDataset
from dcube.tracking import lineage

DIGEST_LENGTH = 36  # the longest that MLflow takes


def dataset_entity(dataset: PreparedDataset, split: str = "") -> dict[str, str]:
    """Of a data set whose files are here.

    Args:
        split: where the run reads this one only.
    """
    counts = {split: dataset.info.counts.get(split, {})} if split else dataset.info.counts
    profile = {"classes": dataset.classes, "counts": counts}
    return entity_of(dataset.name, dataset.fingerprint, split, dataset.folder, profile)


def entity_of(
    name: str, fingerprint: str, split: str, folder: Path = PREPARED, profile: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The fields of an `mlflow.entities.Dataset`: raw data by DVC's hash, arrays by the prepared fingerprint."""
    raw = lineage.data_hash()
    digest = fingerprint if raw == "none" else raw
    return {
        "name": f"{name} ({split})" if split else name,
        "digest": digest[:DIGEST_LENGTH],
        "source_type": "dvc",
        "source": json.dumps({"data.dvc": raw, "prepared": str(folder)}),
        "profile": json.dumps({"fingerprint": fingerprint, **(profile or {})}),
    }
