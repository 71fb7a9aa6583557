"""Recipes of candidates: exactly the parameters that a kind of candidate uses."""

from dataclasses import dataclass
from typing import Any

from dcube.artifacts.candidates import BASELINE, IMAGENET_PROBE, SUB_FEATURES, CandidateName
from dcube.classifier.method import method
from dcube.config.schema import Baseline, Classifier, ExtraImages, HeadSettings, Optimisation, Params, Pretrained

OF_SUB_FEATURES = {
    "sub_features",
    "dropout",
    "consistency_weight",
    "extra_images",
    "flip_at_test",
    *Optimisation.model_fields,
}


@dataclass(frozen=True)
class Recipe:
    """How a candidate is built and trained.

    Attributes:
        kind: kind of the candidate (`dcube.classifier.candidate`).
        network: parameters of D-Cube's or a control's network, or the pretrained weights of a baseline method.
        params: the parameter group behind the recipe, as it is tracked and saved with the candidate.
        flip_at_test: whether predictions are means over an image and its mirror image.
        pretraining_steps: steps of a method's unlabelled pretraining; None: the method's own number.
    """

    kind: str
    network: Classifier | Pretrained
    optimisation: Optimisation
    head_settings: HeadSettings
    extra_images: ExtraImages
    params: dict[str, dict[str, Any]]
    flip_at_test: bool
    pretraining_steps: int | None = None


def head_recipe(kind: str, classifier: Classifier) -> Recipe:
    """Return the recipe of D-Cube or of the untrained control."""
    params = {"classifier": classifier.model_dump(mode="json")}
    return Recipe(
        kind,
        classifier,
        classifier.optimisation,
        classifier.head_settings,
        classifier.extra_images,
        params,
        classifier.flip_at_test,
    )


def sub_features_recipe(classifier: Classifier) -> Recipe:
    """Return the recipe of the sub-feature network alone, without the diffusion model."""
    head_settings = HeadSettings(consistency_weight=classifier.consistency_weight)
    params = {"classifier": classifier.model_dump(mode="json", include=OF_SUB_FEATURES)}
    return Recipe(
        SUB_FEATURES,
        classifier,
        classifier.optimisation,
        head_settings,
        classifier.extra_images,
        params,
        classifier.flip_at_test,
    )


def method_recipe(baseline: Baseline) -> Recipe:
    """Return the recipe of a published method, with its authors' settings where `baseline` gives None."""
    optimisation = Optimisation.of(baseline, **method(baseline.method).published)
    params = {"baseline": baseline.model_dump(mode="json") | optimisation.model_dump(mode="json")}
    return Recipe(
        baseline.method,
        baseline,
        optimisation,
        HeadSettings(),
        baseline.extra_images,
        params,
        baseline.flip_at_test,
        baseline.pretraining_steps,
    )


def imagenet_probe_recipe(seed: int) -> Recipe:
    """Return the recipe of a run's first candidate: a linear probe on installed weights, trained within a minute."""
    return method_recipe(Baseline(method=IMAGENET_PROBE, weights="package", batch_size=32, ema_decay=0.99, seed=seed))


def recipe_of(name: CandidateName, params: Params) -> Recipe:
    """Return the recipe of a candidate of the pipeline."""
    if name == BASELINE:
        return method_recipe(params.baseline)
    if name == IMAGENET_PROBE:
        return imagenet_probe_recipe(params.baseline.seed)
    return sub_features_recipe(params.classifier) if name == SUB_FEATURES else head_recipe(name, params.classifier)
