"""The data set of a run in MLflow: an input with a digest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcube.artifacts.layout import PREPARED
from dcube.data.prepared import PreparedDataset
from dcube.tracking import lineage

DIGEST_LENGTH = 36  # longest digest that MLflow accepts


def dataset_entity(dataset: PreparedDataset, split: str = "") -> dict[str, str]:
    """Return the fields of an `mlflow.entities.Dataset` for a prepared data set.

    Args:
        split: the split that the run reads. Empty: all.
    """
    counts = {split: dataset.info.counts.get(split, {})} if split else dataset.info.counts
    profile = {"classes": dataset.classes, "counts": counts}
    return entity_of(dataset.name, dataset.fingerprint, split, dataset.folder, profile)


def entity_of(
    name: str, fingerprint: str, split: str, folder: Path = PREPARED, profile: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return the fields of an `mlflow.entities.Dataset`. Its digest is DVC's hash of the raw data, or the fingerprint.

    The fingerprint is used if DVC does not track the raw data.
    """
    raw = lineage.data_hash()
    digest = fingerprint if raw == "none" else raw
    return {
        "name": f"{name} ({split})" if split else name,
        "digest": digest[:DIGEST_LENGTH],
        "source_type": "dvc",
        "source": json.dumps({"data.dvc": raw, "prepared": str(folder)}),
        "profile": json.dumps({"fingerprint": fingerprint, **(profile or {})}),
    }
