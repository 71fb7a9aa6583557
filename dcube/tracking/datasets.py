"""The data set of a run as MLflow knows it: an input with a digest."""

import json

from dcube.data.prepared import PreparedDataset
from dcube.tracking import lineage

DIGEST_LENGTH = 36  # the longest that MLflow takes


def dataset_entity(dataset: PreparedDataset, split: str = "") -> dict[str, str]:
    """The fields of an `mlflow.entities.Dataset`: raw data by DVC's hash, arrays by the prepared fingerprint.

    Args:
        split: where the run reads this one only.
    """
    raw = lineage.data_hash()
    digest = dataset.fingerprint if raw == "none" else raw
    counts = {split: dataset.info.counts.get(split, {})} if split else dataset.info.counts
    return {
        "name": f"{dataset.name} ({split})" if split else dataset.name,
        "digest": digest[:DIGEST_LENGTH],
        "source_type": "dvc",
        "source": json.dumps({"data.dvc": raw, "prepared": str(dataset.folder)}),
        "profile": json.dumps({"fingerprint": dataset.fingerprint, "classes": dataset.classes, "counts": counts}),
    }
