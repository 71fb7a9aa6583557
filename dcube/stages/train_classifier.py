"""Stage train_classifier: the D-Cube classifier on the frozen features of the trained U-ViT."""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pandas as pd
import torch

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import (
    DIFFUSION,
    FEATURES,
    MODELS,
    PREPARED,
    REFERENCE,
    SELECTION,
    SYNTHETIC,
    checkpoint_root,
)
from dcube.artifacts.schemas.candidate import CandidateConfig, TrainedWith
from dcube.artifacts.schemas.drift import DriftReference
from dcube.artifacts.schemas.selection import Selection
from dcube.classifier.calibration import calibrated, tempered
from dcube.classifier.candidate import (
    DCUBE,
    ON_DIFFUSION_FEATURES,
    SUB_FEATURES,
    UNTRAINED,
    Candidate,
    FrozenUViT,
    build_head,
    save_candidate,
    untrained,
)
from dcube.classifier.methods.catalogue import Optimiser, method
from dcube.classifier.methods.contract import Task
from dcube.classifier.optimisers import optimiser_of
from dcube.classifier.training import ClassifierResult, ImageTable, pretrain, train_candidate
from dcube.config.schema import Baseline, Classifier, Labels, Params, Pretrained
from dcube.data.label_subset import draw_labelled
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.weights import load_diffusion, load_diffusion_config
from dcube.engine.checkpoint_cleanup import note_finished
from dcube.engine.checkpoints import Checkpoints, training_key
from dcube.engine.device import choose_device
from dcube.engine.distributed import is_first
from dcube.engine.launcher import in_processes
from dcube.engine.seeds import derived_seed, numpy_generator
from dcube.engine.trainer import Row
from dcube.inference.drift import reference_of
from dcube.runtime.checkpoint_sync import Mirror
from dcube.stages import params, run
from dcube.tracking import tags
from dcube.tracking.run import tracked_run

# What of `baseline` decides the network that a training begins with.
OF_NETWORK = {"pretraining_steps", *Pretrained.model_fields}


def main() -> None:
    in_processes(params().compute, partial(train, "train_classifier", DCUBE, DCUBE), "dcube.stages.train_classifier")


def train(stage: str, name: str, kind: str) -> None:
    """Train, save and track one candidate. The controls and the method to compare with go through here too.

    Args:
        stage: DVC's name of it.
        name: of the candidate's folder.
        kind: what it is (`dcube.classifier.candidate`).
    """
    settings, dataset = params(), PreparedDataset.load(PREPARED)
    device = choose_device(settings.compute)
    classifier, optimiser = classifier_settings(kind, settings), optimiser_settings(kind, settings)
    uvit = frozen_uvit(kind, classifier, device)
    torch.manual_seed(derived_seed(classifier.seed, "first weights"))
    task = Task(len(dataset.classes), dataset.image_size, dataset.channels)
    head = build_head(kind, classifier, settings.baseline, task, uvit, load_pretrained=True).to(device)
    groups = {
        "classifier": classifier.model_dump(),
        "labels": settings.labels.model_dump(),
        "compute": settings.compute.model_dump(),
    }
    if classifier is not settings.classifier:
        groups["baseline"] = {
            "optimiser": optimiser,
            **settings.baseline.model_dump(include=OF_NETWORK),
        }
    defining = groups | {"compute": settings.compute.defining()}

    inputs = [dataset.fingerprint, *_inputs(kind, classifier, uvit)]
    key, first_key = (
        training_key(part, defining, inputs, packages=["artifacts", "classifier", "diffusion", "engine"])
        for part in (stage, f"{stage}, pretraining")
    )
    table = training_table(dataset, classifier, settings.labels)

    def fit(on_rows: Callable[[Iterable[Row]], None] = lambda rows: None) -> ClassifierResult:
        steps = None if classifier is settings.classifier else settings.baseline.pretraining_steps
        pretrain(head, classifier, settings.compute, _checkpoints(first_key), on_rows, steps)
        return train_candidate(
            head,
            uvit,
            table,
            ImageTable.of_split(dataset, "validation"),
            classifier,
            settings.compute,
            _checkpoints(key),
            on_rows,
            optimiser_of(optimiser, classifier),
        )

    if not is_first():
        fit()
        return
    with tracked_run(stage, groups, dataset, run_key=key) as tracked:
        result = fit(tracked.log_metrics)
        with atomic_folder(MODELS / name) as folder:
            config = candidate_config(kind, classifier, settings.baseline, dataset, result.validation)
            head.load_state_dict(result.weights)
            config, reference = with_temperature(Candidate(config, head.eval(), uvit), dataset)
            reference.save(folder / REFERENCE)
            digest = save_candidate(folder, result.weights, uvit, config)
            pd.DataFrame(result.record.history).to_csv(folder / "history.csv", index=False)
            pd.DataFrame(result.record.validation).to_csv(folder / "validation.csv", index=False)
        tracked.set_tags({tags.WEIGHTS: digest, tags.KIND: kind})
    for ended in (first_key, key):
        note_finished(ended)


def _checkpoints(key: str) -> Checkpoints:
    return Checkpoints(checkpoint_root(), key, Mirror.configured(key))


def classifier_settings(kind: str, settings: Params) -> Classifier:
    """A baseline's own settings in the same group, without the losses that need D-Cube."""
    if kind in (*ON_DIFFUSION_FEATURES, SUB_FEATURES):
        return settings.classifier
    published = method(kind)
    own = {
        "learning_rate": published.learning_rate,
        "weight_decay": published.weight_decay,
        "epochs": published.epochs,
        **settings.baseline.model_dump(exclude={"method", "optimiser", *OF_NETWORK}, exclude_none=True),
    }
    return Classifier(**own, cycle_weight=0.0, consistency_weight=0.0)


def optimiser_settings(kind: str, settings: Params) -> Optimiser:
    """Name of the optimiser that a kind is trained with."""
    if kind in (*ON_DIFFUSION_FEATURES, SUB_FEATURES):
        return "adamw"
    return settings.baseline.optimiser or method(kind).optimiser


def training_table(dataset: PreparedDataset, classifier: Classifier, labels: Labels) -> ImageTable:
    """The labelled training images that are used, and what is added to them."""
    rows = dataset.indices("train")
    if labels.count is not None:
        rows = rows[draw_labelled(dataset.labels[rows], labels.count, labels.draw)]
    extra = None if classifier.extra_images == "none" else synthetic_table(dataset)
    if extra is not None and classifier.extra_images == "duplicates":
        extra = repeated(dataset, rows, extra.labels, classifier.seed)
    return ImageTable.of_rows(dataset, rows, extra)


def repeated(dataset: PreparedDataset, rows: np.ndarray, wanted: np.ndarray, seed: int) -> ImageTable:
    """As many real images of every class as there are synthetic ones, the same ones over and over."""
    generator = numpy_generator(seed, "duplicates")
    labels, chosen = dataset.labels[rows], []
    for label, count in zip(*np.unique(wanted, return_counts=True), strict=True):
        own = generator.permutation(rows[labels == label])
        chosen.append(np.resize(own, count))
    return ImageTable.of_rows(dataset, np.concatenate([np.empty(0, dtype=np.int64), *chosen]))


def frozen_uvit(kind: str, classifier: Classifier, device: torch.device) -> FrozenUViT | None:
    if kind not in ON_DIFFUSION_FEATURES:
        return None
    selection = Selection.load(FEATURES / SELECTION)
    model, schedule = load_diffusion(DIFFUSION, device)
    blocks = {"best": selection.best, "worst": selection.worst, "last": [len(model.blocks) - 1]}[classifier.selection]
    uvit = FrozenUViT(model, schedule, tuple(blocks), noised=classifier.input == "noised")
    return untrained(uvit, load_diffusion_config(DIFFUSION).diffusion, classifier.seed) if kind == UNTRAINED else uvit


def synthetic_table(dataset: PreparedDataset) -> ImageTable:
    manifest = pd.read_csv(SYNTHETIC / "manifest.csv")
    index = {name: i for i, name in enumerate(dataset.classes)}
    sizes = dataset.image_size, dataset.diffusion_image_size
    large, small = (np.load(SYNTHETIC / f"images-{size}.npy", mmap_mode="r") for size in sizes)
    labels = np.array([index[label] for label in manifest["label"]], dtype=np.int64)
    return ImageTable(large, small, labels, np.arange(len(labels)))


def candidate_config(
    kind: str, classifier: Classifier, baseline: Baseline, dataset: PreparedDataset, validation: dict[str, float]
) -> CandidateConfig:
    return CandidateConfig(
        kind=kind,
        classes=dataset.classes,
        input=dataset.info.input,
        evaluation_timesteps=classifier.evaluation_timesteps,
        params=TrainedWith(
            classifier=classifier, baseline=baseline, diffusion=load_diffusion_config(DIFFUSION).diffusion
        ),
        data_fingerprint=dataset.fingerprint,
        validation=validation,
    )


def with_temperature(candidate: Candidate, dataset: PreparedDataset) -> tuple[CandidateConfig, DriftReference]:
    """The candidate's config with the temperature that the validation images ask for, and what new images will be
    compared with."""
    rows = dataset.indices("validation")
    images, small_images = (
        dataset.images(size)[rows] for size in (candidate.image_size, candidate.diffusion_image_size)
    )
    plain = candidate.predict(images, small_images)
    fitted = calibrated(plain, dataset.labels[rows])
    validation = candidate.config.validation | {"cross_entropy": fitted.cross_entropy}
    config = candidate.config.model_copy(update={"calibration": fitted, "validation": validation})
    return config, reference_of(images, tempered(plain, fitted.temperature), candidate.classes)


def _inputs(kind: str, classifier: Classifier, uvit: FrozenUViT | None) -> list[str]:
    inputs = [kind]
    if uvit is not None:
        inputs += [(DIFFUSION / "config.json").read_text(), repr(uvit.blocks)]
    if classifier.extra_images != "none":
        files = [SYNTHETIC / "manifest.csv", *sorted(SYNTHETIC.glob("images-*.npy"))]
        inputs += [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return inputs


if __name__ == "__main__":
    run(main)
