"""The other sections of the page: intended use, data, images, training, blocks, parameters and lineage."""

from collections.abc import Iterator

import numpy as np

from dcube.artifacts.schemas.audit import Audit, Neighbour
from dcube.artifacts.schemas.dataset import SPLITS, DatasetInfo, InputSpec
from dcube.artifacts.schemas.fid import FidReport
from dcube.artifacts.schemas.selection import Selection
from dcube.config.loading import flattened
from dcube.config.schema import Group, Params
from dcube.evaluation.data_warnings import data_warnings
from dcube.evaluation.metrics import metric_of
from dcube.evaluation.model_card import NOT_INTENDED, PHANTOM, candidate_in_words, intended
from dcube.evaluation.operating_point import decision_in_words, table_rows
from dcube.evaluation.prediction_sets import sets_in_words
from dcube.evaluation.split_notice import split_in_words
from dcube.features.selection import blocks_table, selection_figure
from dcube.report.material import Material
from dcube.report.page_images import image_grid, plot_image
from dcube.report.parts import Fold, Gallery, Heading, Notice, Part, Section, Table, Text
from dcube.report.plots import classifier_figure, diffusion_figure

NEAREST = 8
POINT = ("rate", "validation", "test")
NULLS = {
    "random_field": "Gaussian random fields with the same autocorrelation",
    "as_published": "independent values of the normal distribution, as published",
}


def about_section(material: Material) -> Section:
    metrics = material.evaluations[material.model]
    parts: list[Part] = [Notice(PHANTOM)] if metrics.is_phantom else []
    sets = sets_in_words(metrics.prediction_sets, metrics.confidence, metrics.resampled)
    classes, rates = material.predictions[material.model].classes, table_rows(metrics.operating_point)
    return Section(
        "about",
        "Intended use",
        [
            *parts,
            Text(candidate_in_words(material.model, metrics.kind)),
            Text(intended(classes)),
            Notice(f"Not intended {NOT_INTENDED}"),
            Text(decision_in_words(metrics.operating_point, metrics.confidence)),
            *([Table(f"Of {metrics.operating_point.rule.of_class}", POINT, rates, numbers=True)] if rates else []),
            *([Text(sets)] if sets else []),
            Text(f"Made from {material.origin}."),
        ],
    )


def data_section(material: Material) -> Section:
    info = material.info
    return Section("data", "Data", list(_data(info)) if info else [_missing("The data's description", material)])


def _data(info: DatasetInfo) -> Iterator[Part]:
    counts, spec = info.counts, info.input
    rows = [
        (split, *(str(counts.get(split, {}).get(name, 0)) for name in info.classes), str(sum(of_split.values())))
        for split in SPLITS
        if (of_split := counts.get(split, {}))
    ]
    yield from map(Notice, data_warnings(info))
    unlabelled = f" {info.unlabelled} more have no label; stage 1 trains on them." if info.unlabelled else ""
    yield Table("Labelled images", ("split", *info.classes, "all"), rows, numbers=True)
    dropped = len(info.dropped_duplicates)
    facts = {
        "name": info.name,
        info.owners: info.known_owners,
        "split": split_in_words(info),
        "for the CNNs": _size(spec.image_size, spec),
        "for the diffusion model": _size(spec.diffusion_image_size, spec),
        "made square by": spec.fit,
        "copies dropped": f"{dropped} (training images that are also in validation or test)" if dropped else "none",
        "fingerprint": info.fingerprint,
    }
    if unlabelled:
        yield Text(unlabelled.strip())
    yield Table("How they were prepared", ("what", "value"), list(facts.items()))


def _size(side: int, spec: InputSpec) -> str:
    return f"{side} × {side} pixels, {'grey' if spec.channels == 1 else 'colour'}"


def images_section(material: Material) -> Section:
    parts: list[Part] = []
    if material.samples is None:
        parts.append(_missing("Real images beside synthetic ones", material))
    else:
        parts += _real_and_synthetic(material.samples, material.predictions[material.model].classes)
    if material.fid is not None:
        parts += _fid(material.fid)
    if material.audit is not None:
        parts += [
            Heading("Are synthetic images fit for training?"),
            Text(material.audit.fitness),
            Heading("Are synthetic images copies?"),
            Text(_audit(material.audit)),
            *_nearest(material, material.audit.nearest[:NEAREST]),
        ]
    return Section("images", "Real and synthetic images", parts)


def _real_and_synthetic(samples: dict[str, np.ndarray], classes: list[str]) -> Iterator[Part]:
    yield Text(
        "Training images of every class, of as many patients as there are, and the first images that the diffusion "
        "model generates for the class."
    )
    for index, name in enumerate(classes):
        pictures = []
        for which, words in (("real", "real"), ("generated", "synthetic")):
            images = samples[which][samples[f"{which}_labels"] == index]
            if len(images):
                alt = f"{len(images)} {words} images of the class {name}."
                pictures.append(image_grid(images, alt, f"{name}, {words}"))
        yield Heading(name)
        yield Gallery(pictures)


def _fid(fid: FidReport) -> Iterator[Part]:
    definition = fid.definition
    measured = {"all": fid.overall, **fid.classes}
    rows = [(name, f"{values.fid:.1f}", f"{values.kid:.3f}") for name, values in measured.items()]
    title = f"Distance of synthetic images from real ones, lower is better. Extractor: {definition.extractor}"
    yield Table(title, ("class", metric_of("fid").label, metric_of("kid").label), rows, numbers=True)
    blocks = fid.blockiness
    yield Text(
        f"{definition.n_generated} synthetic against {definition.n_real} real images. Numbers of another "
        "extractor, size or count do not compare. "
        f"Jumps across patch borders against jumps inside: {blocks.generated:.2f} in these synthetic images, "
        f"{blocks.real:.2f} in real ones; above the real ones' value, borders of patches can be seen."
    )


def _audit(audit: Audit) -> str:
    if not audit.n_synthetic:
        return "There are none."
    near, natural = audit.share_nearer_than_threshold, audit.threshold_quantile_of_held_out
    return (
        f"{audit.n_synthetic} were synthesised to fill up the rare classes, {audit.exact_copies} of them exact "
        f"copies of a training image. {near:.1%} are nearer to a training image than {natural:.0%} of the held-out "
        "images are, which no model can have copied; a much larger share would mean that they were memorised."
    )


def _nearest(material: Material, nearest: list[Neighbour]) -> Iterator[Part]:
    dataset, synthetic = material.dataset, material.synthetic
    if dataset is None or synthetic is None or not nearest:
        return
    training = dataset.indices("train", labelled=False)
    real = dataset.images(dataset.diffusion_image_size)
    made = synthetic[[one.synthetic for one in nearest]]
    like = real[training[[one.training for one in nearest]]]
    yield Gallery(
        [
            image_grid(made, f"The {len(made)} synthetic images that are nearest to a training image.", "synthetic"),
            image_grid(like, "The training images that they are nearest to, in the same order.", "nearest in training"),
        ]
    )


def training_section(material: Material) -> Section:
    parts: list[Part] = []
    stage_1 = material.diffusion_curves
    if stage_1 is None:
        parts.append(_missing("Loss and Fréchet distance of the diffusion model over time", material))
    else:
        history, validation, best = stage_1.history, stage_1.validation, stage_1.chosen
        losses = history["loss"]
        alt = (
            f"Stage 1 over {int(history['step'].iloc[-1])} steps: the loss falls from {losses.iloc[0]:.3g} to "
            f"{losses.iloc[-1]:.3g}; the Fréchet distance goes from {validation['fid'].iloc[0]:.4g} to "
            f"{validation['fid'].iloc[-1]:.4g}. The chosen weights, of step {int(best['step'])}, have "
            f"{best['fid']:.4g}."
        )
        caption = "Stage 1: losses, and distance of the generated images from real ones"
        parts.append(plot_image(diffusion_figure(history, validation, best), alt, caption))
    if curves := material.classifier_curves:
        best_of = "; ".join(f"{name} {curve['auroc'].max():.3f}" for name, curve in curves.items())
        alt = f"Validation AUROC over the steps of every candidate's training. Largest: {best_of}."
        caption = "Stage 2 and the baselines: AUROC on validation images"
        parts.append(plot_image(classifier_figure(curves), alt, caption))
    else:
        parts.append(_missing("The classifiers' training", material))
    return Section("training", "Training", parts)


def blocks_section(material: Material) -> Section:
    selection = material.selection
    if selection is None:
        return Section("blocks", "Blocks of the diffusion model", [_missing("The test of the blocks", material)])
    chosen = {block: "best" for block in selection.best}
    chosen |= {block: "best and worst" if block in chosen else "worst" for block in selection.worst}
    shown = blocks_table(selection)[["position", "statistic", "critical", "p_value"]]
    rows = [
        (str(block), position, f"{statistic:.3f}", f"{critical:.3f}", f"{p_value:.3g}", chosen.get(block, ""))
        for block, (position, statistic, critical, p_value) in enumerate(shown.itertuples(index=False, name=None))
    ]
    tested = selection.definition
    text = (
        f"Kolmogorov–Smirnov test of every block's feature map against {NULLS[tested.null]}: the median D over "
        f"{tested.images} training images at timestep {tested.timestep}. {_passed(selection)} "
        f"The best are the blocks with p below {tested.significance:g}, filled up to {tested.keep} by the largest D; "
        f"the worst are as many with the smallest.{_used(material)}"
    )
    both = sorted(set(selection.best) & set(selection.worst))
    overlap = (
        f"{len(rows)} blocks, {len(selection.best)} best and as many worst: the two lists share "
        f"{'block' if len(both) == 1 else 'blocks'} {', '.join(map(str, both))}."
    )
    listed = ", ".join(map(str, selection.best))
    alt = (
        f"p-value and statistic D of the blocks 0 to {len(rows) - 1}. Best, by the largest D: {listed}. "
        f"Worst: {', '.join(map(str, selection.worst))}. The table below has the numbers."
    )
    columns = ("block", "position", "median D", f"D at p = {tested.significance:g}", "p", "chosen as")
    table = Fold("The numbers", [Table("Test of every block", columns, rows, numbers=True)])
    picture = plot_image(
        selection_figure(selection), alt, "Test of every block, and the blocks that are called best and worst"
    )
    return Section(
        "blocks", "Blocks of the diffusion model", [Text(text), *([Text(overlap)] if both else []), picture, table]
    )


def _passed(selection: Selection) -> str:
    """Name the blocks that the test finds significantly not Gaussian."""
    significance = selection.definition.significance
    found = [str(block) for block, p_value in enumerate(selection.p_value) if p_value < significance]
    if not found:
        return f"No block is significantly not Gaussian (p < {significance:g})."
    blocks = f"Block {found[0]} is" if len(found) == 1 else f"Blocks {', '.join(found)} are"
    return f"{blocks} significantly not Gaussian (p < {significance:g})."


def _used(material: Material) -> str:
    """Say which blocks the classifier (stage 2) uses; empty text if the parameters are unknown."""
    if material.params is None:
        return ""
    used = {"best": "the best", "worst": "the worst", "last": "the last block, whatever the test says"}
    return f" The classifier uses {used[material.params.classifier.selection]}."


def parameters_section(material: Material) -> Section:
    if material.params is None:
        return Section("parameters", "Parameters", [_missing("The parameters", material)])
    folds = [
        Fold(
            group, [Table(f"{group}: {_meaning(group)}", ("parameter", "value", "meaning"), _parameters(group, values))]
        )
        for group, values in material.params
    ]
    return Section("parameters", "Parameters", folds)


def _parameters(group: str, values: Group) -> list[tuple[str, str, str]]:
    return [
        (name.removeprefix(f"{group}."), _plain(value), _meaning(name))
        for name, value in flattened({group: values}).items()
    ]


def _plain(value: object) -> str:
    return "none" if value is None else str(value)


def _meaning(name: str) -> str:
    """Return the description of the parameter `group.field`, or empty text if this version does not know it."""
    words, model = "", Params
    for part in name.split("."):
        info = getattr(model, "model_fields", {}).get(part)
        if info is None:
            return ""
        words, model = info.description or (info.annotation.__doc__ or ""), info.annotation
    return words


def lineage_section(material: Material) -> Section:
    table = Table("What this comes from", ("what", "value"), list(material.lineage.items()))
    return Section("lineage", "Lineage", [table])


def _missing(what: str, material: Material) -> Text:
    return Text(f"{what}: not shown. {material.absent}")
