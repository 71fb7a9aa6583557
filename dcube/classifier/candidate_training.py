"""Training of a candidate: from its recipe to the calibrated model."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from dcube.artifacts.candidates import ON_DIFFUSION_FEATURES, UNTRAINED
from dcube.artifacts.layout import CONFIG, MANIFEST
from dcube.artifacts.schemas.candidate import CandidateConfig, TrainedWith
from dcube.classifier.calibration import fit_temperature, with_temperature
from dcube.classifier.candidate import Candidate, build_head
from dcube.classifier.class_balance import refuse_without_effect, validation_weights
from dcube.classifier.image_table import ImageTable, training_images
from dcube.classifier.networks.contract import Task
from dcube.classifier.recipe import Recipe
from dcube.classifier.training import ClassifierResult, pretrain, train_candidate
from dcube.config.schema import Classifier, Compute, Diffusion, Labels
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.weights import load_diffusion_config
from dcube.engine.checkpoints import Checkpoints, training_key
from dcube.engine.device import choose_device
from dcube.engine.seeds import derived_seed
from dcube.engine.trainer import Row
from dcube.features.frozen_uvit import FrozenUViT, load_frozen_uvit, with_random_weights

DEFINING_PACKAGES = ["artifacts", "classifier", "data", "diffusion", "engine", "features"]


@dataclass(frozen=True)
class Inputs:
    """Folders that a training reads besides the data set, if the recipe needs them."""

    diffusion: Path
    selection: Path
    synthetic: Path


@dataclass(frozen=True)
class CandidateTraining:
    """A training that is ready to start, or to resume.

    Attributes:
        params: the parameter groups that the training reads, as they are tracked.
        diffusion: parameters of the frozen U-ViT; None if there is none.
        pretraining_key: key of the checkpoints of the unlabelled pretraining, which only some methods have.
        key: key of the training's checkpoints, a hash of everything that defines the result.
    """

    recipe: Recipe
    params: dict[str, dict[str, Any]]
    dataset: PreparedDataset
    head: nn.Module
    uvit: FrozenUViT | None
    diffusion: Diffusion | None
    images: ImageTable
    compute: Compute
    pretraining_key: str
    key: str

    @classmethod
    def of(
        cls,
        stage: str,
        recipe: Recipe,
        dataset: PreparedDataset,
        labels: Labels,
        compute: Compute,
        inputs: Inputs,
    ) -> Self:
        """Build the network with its initial weights, and read the images.

        Args:
            stage: name of the stage in dvc.yaml.
        """
        device, seed = choose_device(compute), recipe.optimisation.seed
        uvit, diffusion, input_hashes = None, None, [dataset.fingerprint, recipe.kind]
        if recipe.kind in ON_DIFFUSION_FEATURES:
            assert isinstance(recipe.network, Classifier)
            diffusion = load_diffusion_config(inputs.diffusion).diffusion
            uvit = load_frozen_uvit(inputs.diffusion, inputs.selection, recipe.network, device)
            uvit = with_random_weights(uvit, diffusion, seed) if recipe.kind == UNTRAINED else uvit
            input_hashes += [(inputs.diffusion / CONFIG).read_text(), repr(uvit.blocks)]
        if recipe.extra_images != "none":
            files = [inputs.synthetic / MANIFEST, *sorted(inputs.synthetic.glob("images-*.npy"))]
            input_hashes += [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        torch.manual_seed(derived_seed(seed, "first weights"))
        task = Task(len(dataset.classes), dataset.image_size, dataset.channels)
        head = build_head(recipe.kind, recipe.network, task, uvit, load_pretrained=True).to(device)
        refuse_without_effect(recipe.optimisation.class_balance, head, recipe.kind)
        params = recipe.params | {"labels": labels.model_dump(), "compute": compute.model_dump()}
        defining = params | {"compute": compute.defining()}
        keys = (
            training_key(part, defining, input_hashes, DEFINING_PACKAGES) for part in (f"{stage}, pretraining", stage)
        )
        images = training_images(dataset, labels, recipe.extra_images, inputs.synthetic, seed)
        return cls(recipe, params, dataset, head, uvit, diffusion, images, compute, *keys)

    def fit(self, on_rows: Callable[[Iterable[Row]], None] = lambda rows: None) -> ClassifierResult:
        """Train, or resume from the newest checkpoint."""
        pretrain(
            self.head,
            self.recipe.optimisation,
            self.compute,
            Checkpoints.configured(self.pretraining_key),
            on_rows,
            self.recipe.pretraining_steps,
        )
        return train_candidate(
            self.head,
            self.uvit,
            self.images,
            ImageTable.of_split(self.dataset, "validation"),
            self.recipe.optimisation,
            self.recipe.head_settings,
            self.compute,
            Checkpoints.configured(self.key),
            on_rows,
            self.recipe.kind,
        )

    def _prior(self) -> list[float]:
        """Return the share of each class that the probabilities assume."""
        counts = np.bincount(self.images.all_labels, minlength=len(self.dataset.classes))
        if self.recipe.optimisation.class_balance != "none":
            counts = np.ones_like(counts)
        return [float(share) for share in counts / counts.sum()]

    def candidate(self, result: ClassifierResult) -> tuple[Candidate, np.ndarray]:
        """Return the candidate, calibrated on the validation images, and their probabilities (n, classes)."""
        config = CandidateConfig(
            kind=self.recipe.kind,
            classes=self.dataset.classes,
            input=self.dataset.info.input,
            evaluation_timesteps=self.recipe.head_settings.evaluation_timesteps,
            flips=self.recipe.flip_at_test,
            prior=self._prior(),
            params=TrainedWith(**self.recipe.params, diffusion=self.diffusion),
            data_fingerprint=self.dataset.fingerprint,
            validation=result.validation,
        )
        self.head.load_state_dict(result.weights)
        candidate, rows = Candidate(config, self.head.eval(), self.uvit), self.dataset.indices("validation")
        images, small_images = (
            self.dataset.images(size)[rows] for size in (candidate.image_size, candidate.diffusion_image_size)
        )
        plain, labels = candidate.predict(images, small_images), self.dataset.labels[rows]
        fitted = fit_temperature(plain, labels, validation_weights(self.recipe.optimisation.class_balance, labels))
        validation = result.validation | {"cross_entropy": fitted.cross_entropy}
        config = config.model_copy(update={"calibration": fitted, "validation": validation})
        return replace(candidate, config=config), with_temperature(plain, fitted.temperature)
