"""The folder of an evaluation: metrics, predictions, figures and model card, made of predictions alone."""

from collections.abc import Mapping
from pathlib import Path

from dcube.artifacts.layout import METRICS_FILE, MODEL_CARD, PREDICTIONS, VALIDATION_PREDICTIONS
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema import Evaluation
from dcube.data.prepared import PreparedDataset
from dcube.evaluation.model_card import model_card
from dcube.evaluation.operating_point import choose_operating_point
from dcube.evaluation.plots import draw_figures
from dcube.evaluation.prediction_sets import calibrate_sets
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import evaluate_candidate


def write_evaluation(
    folder: Path,
    name: str,
    config: CandidateConfig,
    dataset: PreparedDataset,
    validation: Predictions,
    test: Predictions,
    settings: Evaluation,
    origin: Mapping[str, str],
) -> Metrics:
    """Choose the operating point and the prediction sets on validation, measure them on test, and write everything.

    Args:
        name: name of the candidate.
        test: predictions for the labelled test images of `dataset`, in the same order.
        origin: tags about the origin of the model, for the model card.

    Raises:
        DcubeError: if no operating point fits the settings.
    """
    point, sets = choose_operating_point(validation, settings), calibrate_sets(validation, settings)
    subgroups = dataset.subgroups(dataset.indices("test"))
    metrics = evaluate_candidate(name, config, dataset.info, test, settings, point, sets, subgroups)
    test.save(folder / PREDICTIONS)
    validation.save(folder / VALIDATION_PREDICTIONS)
    draw_figures(test, settings.calibration_bins, folder, f"{name} on {dataset.name}")
    metrics.save(folder / METRICS_FILE)
    (folder / MODEL_CARD).write_text(model_card(metrics, config, dataset, origin), encoding="utf-8")
    return metrics
