"""Conversion of a raw data set into the prepared data set (`PreparedDataset`)."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import DATASET, MANIFEST
from dcube.artifacts.schemas.dataset import SUBGROUP, DatasetInfo, InputSpec, LeftOut
from dcube.artifacts.tables import PREPARED_MANIFEST, to_csv
from dcube.config.guessed import rule_of
from dcube.config.schema import Data
from dcube.data.array_file import keep_rows
from dcube.data.checks.leaks import describe_lone_owners, describe_near_duplicates
from dcube.data.grouping import count_without_patient, grouping_of
from dcube.data.image_summary import ImageSummary, describe_raw_images, refuse_unusable, tabulate
from dcube.data.layouts.phantom import PHANTOM
from dcube.data.prepared import PreparedDataset
from dcube.data.privacy import read_private_dataset
from dcube.data.scan import scan_images
from dcube.data.scan_checkpoint import scan_checkpoint
from dcube.data.shortcuts import shortcut_warnings
from dcube.data.splits import SplitPlan, count_by_class, plan_splits
from dcube.data.subsampling import is_subsampled, subsample
from dcube.data.unnamed_masks import refuse_unnamed_masks

DEFINING = {"channels", "image_size", "diffusion_image_size", "fit"}  # of the arrays; each image has its own hash too


def prepare(path: Path, data: Data, folder: Path) -> PreparedDataset:
    """Read a raw data set, check it, split it and store it in `folder`.

    `folder` is written atomically: it is either complete or unchanged. If the process is killed, the next call
    continues where this one stopped. The arrays are not held in memory: each image takes a few kB, and images need
    more only while they are decoded.

    Raises:
        DcubeError: if no valid data set can be made; the message names the files or rows.
    """
    raw = read_private_dataset(path, data)
    with scan_checkpoint(folder, path, len(raw.records), data) as checkpoint:
        summaries = scan_images(raw, data, checkpoint)
        refuse_unusable(raw, summaries)
        refuse_unnamed_masks(raw, summaries)
        full = plan_splits(tabulate(raw, summaries), data)
        plan = replace(full, table=subsample(full.table, data))
        left_out = len(full.table) - len(plan.table)
        with atomic_folder(folder) as partial:
            for size in checkpoint.sizes:
                file = checkpoint.array_file(size).rename(partial / checkpoint.array_file(size).name)
                if len(plan.table) < len(summaries):
                    keep_rows(file, plan.table.index.to_numpy())
            _write_manifest(partial, plan.table, data.subgroups)
            warnings = raw.name_warnings + shortcut_warnings(raw, full.table, summaries)
            warnings += describe_lone_owners(plan.table, "group" if data.group_by else "patient")
            _info(data, plan, left_out, summaries, raw.notes, warnings).save(partial / DATASET)
    return PreparedDataset.load(folder)


def _write_manifest(folder: Path, table: pd.DataFrame, subgroups: list[str]) -> None:
    manifest = table.reset_index(drop=True).assign(id=range(len(table)))
    columns = [*PREPARED_MANIFEST.columns, *(f"{SUBGROUP}{name}" for name in subgroups)]
    to_csv(manifest[columns], folder / MANIFEST, lineterminator="\n")


def _info(
    data: Data,
    plan: SplitPlan,
    left_out: int,
    summaries: list[ImageSummary],
    notes: tuple[str, ...],
    warnings: list[str],
) -> DatasetInfo:
    spec = InputSpec.of(data).model_copy(update={"raw": describe_raw_images(summaries)})
    classes = sorted(set(plan.table["label"]) - {""})
    subsampling = data.model_dump(include={"train_fraction", "imbalance"})
    return DatasetInfo(
        name=data.name,
        is_phantom=data.name == PHANTOM,
        classes=classes,
        input=spec,
        counts=count_by_class(plan.table),
        unlabelled=int((plan.table["label"] == "").sum()),
        patients=plan.table["patient"].replace("", None).nunique(),
        grouping=grouping_of(plan.table, data),
        without_patient=count_without_patient(plan.table),
        group_by=data.group_by,
        subgroups=data.subgroups,
        split_origin=plan.origin,
        folds=data.folds,
        fold=data.fold,
        dropped_duplicates=plan.dropped,
        blank_slices=sum(summary.is_blank for summary in summaries),
        near_duplicates=describe_near_duplicates(plan.table) if data.near_duplicates else None,
        notes=list(notes),
        warnings=warnings,
        left_out=LeftOut(count=left_out, **subsampling) if is_subsampled(data) else None,
        fingerprint=_fingerprint(classes, spec, plan.table, data.group_by and rule_of(data.group_by)),
    )


def _fingerprint(classes: list[str], spec: InputSpec, table: pd.DataFrame, group_by: str | None) -> str:
    """Hash every image, label, patient and split, and the parameters of the preprocessing."""
    defining = {"classes": classes, **spec.model_dump(include=DEFINING)} | ({"group_by": group_by} if group_by else {})
    digest = hashlib.sha256(json.dumps(defining).encode())
    patients = pd.factorize(table["patient"].replace("", None))[0].tolist()  # pseudonyms differ with the salt
    for row in table[["sha256", "label", "split"]].assign(patient=patients).itertuples(index=False):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()
