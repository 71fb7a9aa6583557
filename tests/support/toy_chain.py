"""The method from prepared images to metrics, as the stages call it, without MLflow and pictures."""

from pathlib import Path

from dcube.artifacts.candidates import IMAGENET_PROBE, STAGES
from dcube.classifier.candidate_training import CandidateTraining, Inputs
from dcube.classifier.recipe import recipe_of
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.sampler import sample
from dcube.diffusion.training import train_diffusion
from dcube.diffusion.weights import load_diffusion, save_diffusion
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.device import autocast, choose_device
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import evaluate_candidate
from dcube.features.probe_study import run_probes
from dcube.features.selection import select_blocks
from dcube.generative_metrics.frechet import FrechetTracker
from dcube.synthesis.generation import generate, save_synthetic


def run_chain(params: Params, dataset: PreparedDataset, folder: Path, cache: Path) -> None:
    device, compute = choose_device(params.compute), params.compute
    diffusion, features, synthetic = (folder / name for name in ("diffusion", "features", "synthetic"))
    for made in (diffusion, features, synthetic):
        made.mkdir(parents=True)
    tracker = FrechetTracker(params.fid, dataset, device, cache)
    result = train_diffusion(dataset, params.diffusion, tracker, compute, device, Checkpoints(folder, "checkpoints"))
    save_diffusion(diffusion, result.weights, result.state.best_step, params.diffusion, dataset)
    model, schedule = load_diffusion(diffusion, device)
    shape = (dataset.channels, dataset.diffusion_image_size, dataset.diffusion_image_size)
    images = sample(model, schedule, tracker.labels, tracker.seeds, params.fid.sampling_steps, 256, shape)
    tracker.measure_classes(images, tracker.labels)
    selection = select_blocks(model, dataset, params.features, device)
    selection.save(features / "selection.json")
    with autocast(device, compute):
        made_images = generate(model, schedule, dataset, params.synthesis, autocast(device, compute))
    save_synthetic(synthetic, made_images, dataset)
    if params.probe.labels:
        run_probes(dataset, diffusion, selection, params.classifier, params.probe, compute, device)
    recipes = [recipe_of(name, params) for name in STAGES if name != IMAGENET_PROBE]
    for number, recipe in enumerate(recipes):
        inputs = Inputs(diffusion, features, synthetic)
        training = CandidateTraining.of(f"{folder.name}-{number}", recipe, dataset, params.labels, compute, inputs)
        candidate, _ = training.candidate(training.fit())
        rows = dataset.indices("test")
        large, small = (dataset.images(size)[rows] for size in (dataset.image_size, dataset.diffusion_image_size))
        predictions = Predictions.of(dataset, rows, candidate.predict(large, small))
        evaluate_candidate(recipe.kind, candidate.config, dataset.info, predictions, params.evaluation)
