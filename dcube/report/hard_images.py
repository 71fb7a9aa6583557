"""Section with the test images that have the largest errors and the most uncertain predictions."""

from collections.abc import Iterator, Sequence

import numpy as np

from dcube.artifacts.layout import PREPARED
from dcube.classifier.candidate import load_candidate
from dcube.config.schema import Compute
from dcube.data.prepared import PreparedDataset
from dcube.engine.device import choose_device
from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions
from dcube.inference.heatmaps import heatmaps
from dcube.report.material import Material
from dcube.report.page_images import image_with_heatmap, pixel_image
from dcube.report.parts import Gallery, Heading, PageImage, Part, Section, Table, Text

SHOWN = 6


def hard_images_section(material: Material) -> Section:
    predictions = material.predictions[material.model]
    wrong, uncertain = largest_errors(predictions), most_uncertain(predictions)
    parts: list[Part] = [
        Text(_explanation(material)),
        Heading("Largest errors"),
        *(_shown(material, wrong, "Largest errors") if len(wrong) else [Text("No test image was predicted wrongly.")]),
        Heading("Most uncertain"),
        *_shown(material, uncertain, "Most uncertain"),
    ]
    return Section("hard", f"Hard test images: {material.model}", parts)


def _explanation(material: Material) -> str:
    if material.dataset is None:
        return f"The images themselves: not shown. {material.absent}"
    if material.weights is None:
        return f"Heatmaps: not shown. {material.absent}"
    return (
        "On the right of each image, the parts that support the prediction (red) and oppose it (blue): how much less, "
        "or more, certain the model becomes when that part is blurred. It shows what the model used, not what is ill."
    )


def largest_errors(predictions: Predictions) -> np.ndarray:
    """Return up to `SHOWN` rows of wrong predictions, those with the lowest probability of the true class first."""
    truth = predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]
    wrong = np.flatnonzero(predictions.probabilities.argmax(1) != predictions.labels)
    return wrong[np.argsort(truth[wrong], kind="stable")][:SHOWN]


def most_uncertain(predictions: Predictions) -> np.ndarray:
    """Return up to `SHOWN` rows with the largest entropy of the probabilities, the largest first."""
    logarithms = np.log(predictions.probabilities.clip(np.finfo(float).tiny))
    entropy = -(predictions.probabilities * logarithms).sum(1)
    return np.argsort(-entropy, kind="stable")[:SHOWN]


def _shown(material: Material, rows: np.ndarray, title: str) -> Iterator[Part]:
    predictions, dataset = material.predictions[material.model], material.dataset
    texts = [_words(predictions, row) for row in rows]
    if dataset is None:
        yield Table(f"{title}, without the images", ("image", "truth", "prediction", "its probability"), texts)
        return
    chosen = _found(dataset, list(predictions.table["sha256"].iloc[rows]))
    images = dataset.images(dataset.image_size)[chosen]
    maps = _heatmaps(material, dataset, chosen, predictions.probabilities[rows].argmax(1))
    yield Gallery([_picture(*one) for one in zip(images, maps, texts, strict=True)], small=True)


def _found(dataset: PreparedDataset, wanted: Sequence[str]) -> np.ndarray:
    """Return the rows of images by their sha256, because rows and names may belong to other images by now."""
    places = {digest: place for place, digest in enumerate(dataset.manifest["sha256"])}
    if missing := [digest for digest in wanted if digest not in places]:
        raise DcubeError(
            f"{len(missing)} of the test images that were predicted on are not in {PREPARED}: it holds another data "
            "set by now; finish the run with `dvc repro`"
        )
    return np.array([places[digest] for digest in wanted])


def _heatmaps(
    material: Material, dataset: PreparedDataset, chosen: np.ndarray, classes: np.ndarray
) -> np.ndarray | list[None]:
    """Return heatmaps (k, h, w) for the predicted `classes`, or a list of None if there are no weights."""
    if material.weights is None:
        return [None] * len(chosen)
    candidate = load_candidate(material.weights, choose_device(Compute()))
    images, small_images = (dataset.images(size)[chosen] for size in (dataset.image_size, dataset.diffusion_image_size))
    return heatmaps(candidate, images, small_images, classes)


def _words(predictions: Predictions, row: int) -> tuple[str, str, str, str]:
    """Return file, true class, predicted class and its probability as texts."""
    line = predictions.table.iloc[row]
    return line["file"], line["label"], line["prediction"], f"{predictions.probabilities[row].max():.1%}"


def _picture(image: np.ndarray, heatmap: np.ndarray | None, texts: tuple[str, str, str, str]) -> PageImage:
    file, truth, predicted, sure = texts
    alt = f"Test image {file}, which is {truth}; predicted as {predicted} with {sure}."
    caption = f"{truth}, predicted as {predicted} ({sure})\n{file}"
    if heatmap is None:
        return pixel_image(image, alt, caption)
    alt = f"{alt} Beside it the parts that support {predicted}: {_place(heatmap)}."
    return image_with_heatmap(image, heatmap, alt, caption)


def _place(heatmap: np.ndarray) -> str:
    """Describe where the heatmap is largest."""
    if heatmap.max() <= 0:
        return "no part of the image by itself"
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    names = (
        ("upper", "middle", "lower")[3 * row // heatmap.shape[0]],
        ("left", "centre", "right")[3 * column // heatmap.shape[1]],
    )
    return f"most of all a part in the {' '.join(names)}"
