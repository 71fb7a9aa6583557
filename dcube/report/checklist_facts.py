"""Facts about a run. Each function returns a sentence or two, or empty text if the fact is unknown.

The items in `checklists.yaml` name the functions that answer them.
"""

import numpy as np
import pandas as pd

from dcube.artifacts.candidates import (
    BASELINE,
    CLASSIFIER_KINDS,
    CONTROLS,
    DCUBE,
    ON_DIFFUSION_FEATURES,
    UNTRAINED,
)
from dcube.artifacts.schemas.dataset import SPLITS
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema import Baseline, Classifier
from dcube.engine.classification_metrics import confusion
from dcube.evaluation.data_warnings import data_warnings
from dcube.evaluation.metrics import HEADLINES, names_of, title_of
from dcube.evaluation.model_card import NOT_INTENDED, intended, kind_in_words, limits_of, majority_class_in_words
from dcube.evaluation.operating_point import decision_in_words, table_rows
from dcube.evaluation.prediction_sets import sets_in_words
from dcube.evaluation.split_notice import split_in_words, split_notice
from dcube.evaluation.subgroups import in_short, notes_of
from dcube.evaluation.summary import interval_text, tested_on
from dcube.report.material import Material

ORIGINS = {
    "none": "random",
    "package": "ImageNet weights of the installation",
    "file": "weights from a file",
    "download": "published weights",
}


def technology(material: Material) -> str:
    return f"Deep learning. {kind_in_words(_metrics(material).kind)}"


def intended_use(material: Material) -> str:
    return f"{intended(material.predictions[material.model].classes)} Not intended {NOT_INTENDED}"


def data_set(material: Material) -> str:
    metrics = _metrics(material)
    return f"The data set {metrics.dataset}, fingerprint `{metrics.dataset_fingerprint}` (its source: for a person)."


def excluded_images(material: Material) -> str:
    info = material.info
    if info is None:
        return ""
    found = [
        f"dropped because they are also in validation or test: {len(info.dropped_duplicates)} training images",
        f"left out because they are blank: {info.blank_slices} slices",
    ]
    if info.left_out:
        found.append(f"left out on purpose: {info.left_out.count} training images")
    return f"{'; '.join(found).capitalize()} (criteria before that: for a person)."


def preprocessing(material: Material) -> str:
    if material.info is None:
        return ""
    spec = material.info.input
    window = "" if spec.window_width is None else f", window {spec.window_center:g} ± {spec.window_width / 2:g}"
    crop = "" if spec.crop is None else f", the central {spec.crop} pixels"
    return (
        f"{'Grey' if spec.channels == 1 else 'Colour'} images of 8 bits{window}{crop}, made square by `{spec.fit}`, at "
        f"{spec.image_size} × {spec.image_size} pixels, for the diffusion model at {spec.diffusion_image_size} × "
        f"{spec.diffusion_image_size}."
    )


def subset(material: Material) -> str:
    if material.params is None:
        return ""
    count = material.params.labels.count
    return "All labelled training images are used." if count is None else f"{count} labelled training images are used."


def deidentification(material: Material) -> str:
    kept = material.params and material.params.data.identifiers == "kept"
    names = "under their own names (`data.identifiers: kept`)" if kept else "under salted pseudonyms"
    return f"Pixels alone are taken from files; images and patients are known {names}."


def missing_labels(material: Material) -> str:
    if material.info is None:
        return ""
    return f"{material.info.unlabelled} images have no label; at most the diffusion model is trained on them."


def split(material: Material) -> str:
    return f"The split {split_in_words(material.info)}." if material.info else ""


def kept_apart(material: Material) -> str:
    metrics = _metrics(material)
    level = {"patients": "Patients", "none": "Patients, if known" if metrics.without_patient else "Images"}
    groups = "Groups of images (`data.group_by`)"
    return f"{level.get(metrics.grouping, groups)}. {split_notice(metrics)}".strip()


def test_size(material: Material) -> str:
    return f"{tested_on(_metrics(material))}; what was intended: for a person."


def counts(material: Material) -> str:
    info = material.info
    if info is None:
        return ""
    each = (
        f"{split} {sum(of.values())} ({'; '.join(f'{name} {count}' for name, count in of.items())})"
        for split in SPLITS
        if (of := info.counts.get(split))
    )
    return f"Labelled images: {'; '.join(each)}. {info.owners.capitalize()}: {info.known_owners}."


def network(material: Material) -> str:
    blocks = ""
    if material.model in ON_DIFFUSION_FEATURES and material.selection and material.params:
        used = material.selection.blocks(material.params.classifier.selection)
        blocks = f" Blocks: {', '.join(map(str, used))}."
    return f"Layers and equations: docs/method.md of the software.{blocks} The report lists every parameter."


def software(material: Material) -> str:
    commit = material.lineage.get("commit", "none")
    return f"D-Cube at commit `{commit}`; its requirements.lock names every library with its version."


def first_weights(material: Material) -> str:
    params = material.params
    if params is None or material.model not in (*CLASSIFIER_KINDS, BASELINE):
        return ""
    if material.model == BASELINE:
        return f"{params.baseline.method}: {ORIGINS[params.baseline.weights]}."
    pretrained = params.classifier.sub_features
    seeds = {DCUBE: params.diffusion.seed, UNTRAINED: params.classifier.seed}
    uvit = f"U-ViT: random, seed {seeds[material.model]}. " if material.model in seeds else ""
    return f"{uvit}{pretrained.architecture}: {ORIGINS[pretrained.weights]}."


def training(material: Material) -> str:
    own = _optimisation(material)
    if material.params is None or own is None:
        return ""
    diffusion = material.params.diffusion
    stage_1 = (
        f"Diffusion model: {diffusion.optimiser}, {diffusion.epochs:g} epochs, batches of {diffusion.batch_size}, "
        f"learning rate {diffusion.learning_rate:g}. "
    )
    epochs, rate = ("as published" if it is None else f"{it:g}" for it in (own.epochs, own.learning_rate))
    return (
        f"{stage_1 if material.model == DCUBE else ''}Classifier: epochs {epochs}, batches of "
        f"{own.batch_size}, learning rate {rate}, flips of probability "
        f"{own.flip_probability:g}, augmentation {own.augmentation}."
    )


def model_selection(material: Material) -> str:
    if material.model not in (*CLASSIFIER_KINDS, BASELINE):
        return ""
    of_diffusion = " The diffusion model is the one with the smallest Fréchet distance to the training images."
    return (
        "On validation images alone: the classifier's epoch with the smallest calibrated cross-entropy."
        f"{of_diffusion if material.model == DCUBE else ''}"
    )


def ensemble(material: Material) -> str:
    if folds := _metrics(material).folds:
        return f"The mean of the calibrated probabilities of {folds} networks, one for each fold of a cross-validation."
    own = _optimisation(material)
    averaged = own is not None and own.ema_decay > 0
    return f"None: one network{', whose weights are averaged over the steps of its training' if averaged else ''}."


def metrics(material: Material) -> str:
    return f"{'; '.join(title_of(name) for name in names_of(_metrics(material).test))}."


def statistics(material: Material) -> str:
    found = _metrics(material)
    return (
        f"{found.confidence:.0%} intervals: percentiles of {found.resamples} bootstrap resamples of {found.resampled}. "
        "Differences between models: paired bootstrap and McNemar's test, p-values corrected for their number (Holm)."
    )


def controls(material: Material) -> str:
    found = [name for name, other in material.evaluations.items() if other.kind in CONTROLS]
    return f"Measured beside the controls {', '.join(found)}, on the same images." if found else ""


def explanation(material: Material) -> str:
    return "Heatmaps of the hardest test images in the report: how the log-odds change where a part is blurred."


def internal_test(material: Material) -> str:
    return f"{tested_on(_metrics(material))}, of the same source as the training images; evaluated once."


def external_tests(material: Material) -> str:
    return " ".join(f"On {name}: {result}." for name, result in material.external_tests.items())


def performance(material: Material) -> str:
    found = _metrics(material)
    each = (f"{it.label} {found.test[it.name]:.3f} ({interval_text(found, it.name)})" for it in HEADLINES)
    return f"Test, {found.confidence:.0%} intervals: {', '.join(each)}."


def validation_performance(material: Material) -> str:
    each = (f"{name} {value:.3f}" for name, value in _metrics(material).validation.items() if name != "step")
    return f"Validation (optimistic, because the weights were chosen on it): {', '.join(each)}."


def decision(material: Material) -> str:
    found = _metrics(material)
    rates = "; ".join(f"{name} {on_test}" for name, _, on_test in table_rows(found.operating_point))
    sets = sets_in_words(found.prediction_sets, found.confidence, found.resampled)
    on_test = f"On test: {rates}." if rates else ""
    return " ".join(filter(None, (decision_in_words(found.operating_point, found.confidence), on_test, sets)))


def calibration(material: Material) -> str:
    found = _metrics(material).test
    return f"Probabilities of each class, calibrated by a temperature; expected calibration error {found['ece']:.3f}."


def class_balance(material: Material) -> str:
    own, predictions = _optimisation(material), material.predictions[material.model]
    setting = f"`class_balance: {own.class_balance}`. " if own else ""
    return f"{setting}{majority_class_in_words(pd.Series(np.array(predictions.classes)[predictions.labels]))}"


def subgroups(material: Material) -> str:
    found = _metrics(material)
    return " ".join((*in_short(found), notes_of(found)))


def failures(material: Material) -> str:
    predictions = material.predictions[material.model]
    table = confusion(predictions.labels, predictions.probabilities, np.ones((1, len(predictions.labels))))[0].astype(
        int
    )
    wrong = [
        f"{count} of {table[truth].sum()} {predictions.classes[truth]} as {predictions.classes[said]}"
        for (truth, said), count in np.ndenumerate(table)
        if truth != said and count
    ]
    return f"{'; '.join(wrong) or 'No error'}. The report shows the largest errors and the most uncertain images."


def limitations(material: Material) -> str:
    of_data = data_warnings(material.info) if material.info else []
    return " ".join([*limits_of(_metrics(material)), *of_data])


def unsuitable_input(material: Material) -> str:
    return "`dcube predict` refuses images that the model was not made for, by name, and abstains where it is set to."


def _metrics(material: Material) -> Metrics:
    return material.evaluations[material.model]


def _optimisation(material: Material) -> Classifier | Baseline | None:
    """Return the parameters of this model's training; None for the probe, whose parameters are fixed."""
    if material.params is None or material.model not in (*CLASSIFIER_KINDS, BASELINE):
        return None
    return material.params.baseline if material.model == BASELINE else material.params.classifier
