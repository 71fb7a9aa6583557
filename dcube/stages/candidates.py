"""Code shared by the stages that train a candidate."""

import pandas as pd

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.candidates import STAGES, CandidateName
from dcube.artifacts.layout import (
    DIFFUSION,
    FEATURES,
    HISTORY,
    MODELS,
    PREPARED,
    REFERENCE,
    SEEN,
    SYNTHETIC,
    VALIDATION,
)
from dcube.artifacts.schemas.seen import SeenImages
from dcube.classifier.candidate import save_candidate
from dcube.classifier.candidate_training import CandidateTraining, Inputs
from dcube.classifier.recipe import Recipe, recipe_of
from dcube.config.schema import Params
from dcube.data.checks.lookalikes import perceptual_hash
from dcube.data.prepared import PreparedDataset
from dcube.engine.checkpoint_cleanup import note_finished
from dcube.engine.distributed import is_main_process
from dcube.engine.launcher import launch
from dcube.inference.drift import reference_of
from dcube.stages.process.feasible_params import feasible_params
from dcube.tracking import tags
from dcube.tracking.run import tracked_run


def run_training_stage(name: CandidateName) -> None:
    """Train, save and track one candidate in `compute.processes` processes."""
    settings, stage = feasible_params(), STAGES[name]
    recipe = recipe_of(name, settings)
    launch(settings.compute.processes, lambda: _train(stage, name, recipe, settings), "dcube.stages", stage)


def _train(stage: str, name: str, recipe: Recipe, settings: Params) -> None:
    dataset, inputs = PreparedDataset.load(PREPARED), Inputs(DIFFUSION, FEATURES, SYNTHETIC)
    training = CandidateTraining.of(stage, recipe, dataset, settings.labels, settings.compute, inputs)
    if not is_main_process():
        training.fit()
        return
    with tracked_run(stage, training.params, dataset, run_key=training.key) as tracked:
        result = training.fit(tracked.log_metrics)
        candidate, probabilities = training.candidate(result)
        images = dataset.images(dataset.image_size)
        validation_images = images[dataset.indices("validation")]
        with atomic_folder(MODELS / name) as folder:
            reference_of(validation_images, probabilities, dataset.classes).save(folder / REFERENCE)
            SeenImages.of(dataset.manifest["sha256"], map(perceptual_hash, images)).save(folder / SEEN)
            digest = save_candidate(folder, result.weights, candidate.uvit, candidate.config)
            pd.DataFrame(result.state.history).to_csv(folder / HISTORY, index=False)
            pd.DataFrame(result.state.validation).to_csv(folder / VALIDATION, index=False)
        tracked.set_tags({tags.WEIGHTS: digest, tags.KIND: recipe.kind})
    note_finished(MODELS / name, training.pretraining_key, training.key)
