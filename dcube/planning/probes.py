"""Estimated time of the stage `probe`: the features for its linear probes, and the fits."""

from dcube.config.schema import Params
from dcube.features.label_efficiency import FOLDS, STRENGTHS, draws_of, sets_probed
from dcube.features.pooling import POOLINGS
from dcube.features.probing import SCORED, map_images, possible_counts
from dcube.planning.dataset_and_machine import DatasetFacts
from dcube.planning.throughput import DiffusionSpeed, fit_seconds

MODELS = 2  # the trained U-ViT and its untrained control
VALUES_OF_A_POOLING = 2  # typical number per channel; the poolings give one, two or four


def probe_seconds(params: Params, facts: DatasetFacts, speed: DiffusionSpeed) -> float:
    """Return the seconds of the stage without its imports; 0 if `probe.labels` is empty.

    The sub-features, one pass of a CNN, are neglected.
    """
    if not params.probe.labels:
        return 0.0
    return _features(params, facts, speed) + _fits_of_map(params, facts) + _fits_of_curves(params, facts)


def _features(params: Params, facts: DatasetFacts, speed: DiffusionSpeed) -> float:
    scored = sum(map(facts.count, SCORED))
    of_map = (map_images(facts.training_images) + scored) * len(params.probe.timesteps)
    of_curves = (facts.images_of_stage_1 + scored) * len(params.classifier.evaluation_timesteps)
    return MODELS * (of_map + of_curves) * speed.solver_step


def _fits_of_map(params: Params, facts: DatasetFacts) -> float:
    blocks, values = params.diffusion.depth + 1, params.diffusion.width * VALUES_OF_A_POOLING
    fits = MODELS * len(params.probe.timesteps) * blocks * len(POOLINGS)
    return fits * fit_seconds(map_images(facts.training_images), values, len(facts.classes))


def _fits_of_curves(params: Params, facts: DatasetFacts) -> float:
    classifier, classes, available = params.classifier, len(facts.classes), facts.training_images
    levels, blocks = len(classifier.evaluation_timesteps), params.diffusion.depth + 1
    values = levels * blocks * params.diffusion.width * VALUES_OF_A_POOLING
    sets = sets_probed(MODELS, len(POOLINGS), classifier.use_sub_features)
    counts, _ = possible_counts(params.probe.labels, classes, available)
    fits = sum(
        fit_seconds(count, values, classes) * (1 if count == available else 1 + FOLDS)
        for count, _ in draws_of(counts, available, params.probe.draws)
    )
    return sets * len(STRENGTHS) * fits
