"""Raw images → the prepared data set (`PreparedDataset`)."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from dcube.config import Data
from dcube.data.phantom import PHANTOM
from dcube.data.prepared import MADE_FOR, MANIFEST_COLUMNS, SPLITS, PreparedDataset
from dcube.data.privacy import open_private
from dcube.data.splits import SplitPlan, describe_near_duplicates, plan_splits
from dcube.data.survey import Seen, describe, refuse_unusable, survey, tabulate
from dcube.engine.publish import published

ROWS_AT_ONCE = 1024


def prepare(raw: Path, data: Data, folder: Path) -> PreparedDataset:
    """Read a raw data set, check it, split it and store it; `folder` appears whole or stays as it was.

    Raises:
        DcubeError: naming every file or row that no valid data set can be made of.
    """
    source = open_private(raw, data)
    with published(folder) as partial:
        shape = (len(source.records), data.channels)
        arrays = {
            size: _new_array(_array_file(partial, size), (*shape, size, size))
            for size in {data.image_size, data.diffusion_image_size}
        }
        seen = survey(source, data, arrays)
        refuse_unusable(source, seen)
        plan = plan_splits(tabulate(source, seen), data)
        for size, array in arrays.items():
            array.flush()
            if len(plan.table) < len(array):
                _keep_rows(_array_file(partial, size), plan.table.index.to_numpy())
        _write_manifest(partial, plan.table)
        _write_info(partial, data, plan, seen, source.notes)
    return PreparedDataset.load(folder)


def _array_file(folder: Path, size: int) -> Path:
    return folder / f"images-{size}.npy"


def _new_array(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """Memory-mapped uint8 with its space reserved: a full disk is an `OSError` here, and would be a crash later."""
    array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    with file.open("r+b") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return array


def _keep_rows(file: Path, rows: np.ndarray) -> None:
    images = np.load(file, mmap_mode="r")
    shorter_file = file.with_suffix(".partial")
    shorter = _new_array(shorter_file, (len(rows), *images.shape[1:]))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        shorter[start : start + ROWS_AT_ONCE] = images[rows[start : start + ROWS_AT_ONCE]]
    shorter.flush()
    shorter_file.replace(file)


def _write_manifest(folder: Path, table: pd.DataFrame) -> None:
    manifest = table.reset_index(drop=True).assign(id=range(len(table)))
    manifest.to_csv(folder / "manifest.csv", columns=list(MANIFEST_COLUMNS), index=False, lineterminator="\n")


def _write_info(folder: Path, data: Data, plan: SplitPlan, seen: list[Seen], notes: tuple[str, ...]) -> None:
    info = {
        "name": data.name,
        "is_phantom": data.name == PHANTOM,
        "classes": sorted(set(plan.table["label"]) - {""}),
        **data.model_dump(include=set(MADE_FOR) - {"raw"}),
        "counts": count(plan.table),
        "unlabelled": int((plan.table["label"] == "").sum()),
        "patients": plan.table["patient"].replace("", None).nunique(),
        "split_origin": plan.origin,
        "dropped_duplicates": plan.dropped,
        "blank_slices": sum(one.blank for one in seen),
        "near_duplicates": describe_near_duplicates(plan.table) if data.near_duplicates else None,
        "raw": describe(seen),
        "notes": notes,
    }
    info["fingerprint"] = _fingerprint(info, plan.table)
    (folder / "dataset.json").write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def count(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Labelled images by split and class, the splits in their order."""
    labelled = table[table["label"] != ""]
    counts = {str(split): dict(Counter(sorted(rows["label"]))) for split, rows in labelled.groupby("split")}
    return {split: counts[split] for split in ("", *SPLITS) if split in counts}


def _fingerprint(info: dict, table: pd.DataFrame) -> str:
    """Hash over every image, label, patient and split, and over what the images were made into."""
    defining = {key: info[key] for key in ("classes", "channels", "image_size", "diffusion_image_size", "fit")}
    digest = hashlib.sha256(json.dumps(defining).encode())
    patients = pd.factorize(table["patient"].replace("", None))[0].tolist()  # pseudonyms differ with the salt
    for row in table[["sha256", "label", "split"]].assign(patient=patients).itertuples(index=False):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()
