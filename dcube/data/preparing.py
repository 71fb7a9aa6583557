"""Raw images → the prepared data set (`PreparedDataset`)."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import DATASET, MANIFEST
from dcube.artifacts.schemas.dataset import DatasetInfo, InputSpec, LeftOut
from dcube.config.schema import Data
from dcube.data.array_file import keep_rows
from dcube.data.checks.privacy import open_private
from dcube.data.layouts.phantom import PHANTOM
from dcube.data.layouts.source import Seen
from dcube.data.prepared import MANIFEST_COLUMNS, SPLITS, PreparedDataset
from dcube.data.splits import SplitPlan, describe_near_duplicates, plan_splits
from dcube.data.subsampling import thin, thins
from dcube.data.survey import describe, refuse_unusable, survey, tabulate
from dcube.data.unfinished import unfinished

DEFINING = {"channels", "image_size", "diffusion_image_size", "fit"}  # of the arrays; each image has its own hash too


def prepare(raw: Path, data: Data, folder: Path) -> PreparedDataset:
    """Read a raw data set, check it, split it and store it; `folder` appears whole or stays as it was.

    After a kill the next call goes on where this one was. Memory is bounded: a few kB an image and what the images
    being decoded take, not the arrays.

    Raises:
        DcubeError: naming every file or row that no valid data set can be made of.
    """
    source = open_private(raw, data)
    with unfinished(folder, raw, len(source.records), data) as work:
        seen = survey(source, data, work)
        refuse_unusable(source, seen)
        split = plan_splits(tabulate(source, seen), data)
        plan = replace(split, table=thin(split.table, data))
        left_out = len(split.table) - len(plan.table)
        with atomic_folder(folder) as partial:
            for size in work.sizes:
                file = work.array_file(size).rename(partial / work.array_file(size).name)
                if len(plan.table) < len(seen):
                    keep_rows(file, plan.table.index.to_numpy())
            _write_manifest(partial, plan.table)
            _info(data, plan, left_out, seen, source.notes).save(partial / DATASET)
    return PreparedDataset.load(folder)


def _write_manifest(folder: Path, table: pd.DataFrame) -> None:
    manifest = table.reset_index(drop=True).assign(id=range(len(table)))
    manifest.to_csv(folder / MANIFEST, columns=list(MANIFEST_COLUMNS), index=False, lineterminator="\n")


def _info(data: Data, plan: SplitPlan, left_out: int, seen: list[Seen], notes: tuple[str, ...]) -> DatasetInfo:
    spec = InputSpec.of(data).model_copy(update={"raw": describe(seen)})
    classes = sorted(set(plan.table["label"]) - {""})
    thinning = data.model_dump(include={"train_fraction", "imbalance"})
    return DatasetInfo(
        name=data.name,
        is_phantom=data.name == PHANTOM,
        classes=classes,
        input=spec,
        counts=count(plan.table),
        unlabelled=int((plan.table["label"] == "").sum()),
        patients=plan.table["patient"].replace("", None).nunique(),
        split_origin=plan.origin,
        dropped_duplicates=plan.dropped,
        blank_slices=sum(one.blank for one in seen),
        near_duplicates=describe_near_duplicates(plan.table) if data.near_duplicates else None,
        notes=list(notes),
        left_out=LeftOut(count=left_out, **thinning) if thins(data) else None,
        fingerprint=_fingerprint(classes, spec, plan.table),
    )


def count(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Labelled images by split and class, the splits in their order."""
    labelled = table[table["label"] != ""]
    counts = {str(split): dict(Counter(sorted(rows["label"]))) for split, rows in labelled.groupby("split")}
    return {split: counts[split] for split in ("", *SPLITS) if split in counts}


def _fingerprint(classes: list[str], spec: InputSpec, table: pd.DataFrame) -> str:
    """Hash over every image, label, patient and split, and over what the images were made into."""
    defining = {"classes": classes, **spec.model_dump(include=DEFINING)}
    digest = hashlib.sha256(json.dumps(defining).encode())
    patients = pd.factorize(table["patient"].replace("", None))[0].tolist()  # pseudonyms differ with the salt
    for row in table[["sha256", "label", "split"]].assign(patient=patients).itertuples(index=False):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()
