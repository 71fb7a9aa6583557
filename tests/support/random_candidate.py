"""A real candidate with random weights, small enough to log and serve in tests."""

from pathlib import Path
from typing import Any

import torch

from dcube.artifacts.candidates import CLASSIFIER_KINDS, DCUBE, ON_DIFFUSION_FEATURES, SUB_FEATURES
from dcube.artifacts.schemas.candidate import Calibration, CandidateConfig, TrainedWith
from dcube.artifacts.schemas.dataset import InputSpec
from dcube.classifier.candidate import build_head, save_candidate
from dcube.classifier.networks.contract import Task
from dcube.classifier.recipe import method_recipe
from dcube.config.schema import Params
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.weights import build_uvit
from dcube.features.frozen_uvit import FrozenUViT

CLASSES = ["benign", "malignant", "normal"]
SPEC = InputSpec(channels=1, image_size=32, diffusion_image_size=16, fit="crop")


def candidate_config(params: Params, kind: str = SUB_FEATURES, **changes: Any) -> CandidateConfig:
    groups = {"classifier"} if kind in CLASSIFIER_KINDS else {"baseline"}
    groups |= {"diffusion"} if kind in ON_DIFFUSION_FEATURES else set()
    resolved = {} if kind in CLASSIFIER_KINDS else method_recipe(params.baseline).params
    classes = changes.get("classes", CLASSES)
    usual = {
        "kind": kind, "classes": CLASSES, "input": SPEC, "evaluation_timesteps": [1],
        "prior": [1 / len(classes)] * len(classes),
        "params": TrainedWith.model_validate(params.model_dump(include=groups) | resolved),
        "data_fingerprint": "f" * 64, "validation": {"auroc": 0.9, "cross_entropy": 0.5, "accuracy": 0.8},
    }  # fmt: skip
    return CandidateConfig(**usual | changes)


def write_candidate(
    folder: Path, params: Params, seed: int = 0, kind: str = SUB_FEATURES, spec: InputSpec = SPEC
) -> str:
    """Write it and return the sha256 of its weights."""
    torch.manual_seed(seed)
    uvit = None
    if kind == DCUBE:
        model = build_uvit(params.diffusion, 16, 1, len(CLASSES)).eval()
        uvit = FrozenUViT(model, NoiseSchedule(params.diffusion), blocks=(1, 2))
    settings = params.classifier if kind in CLASSIFIER_KINDS else params.baseline
    head = build_head(kind, settings, Task(len(CLASSES), 32, 1), uvit, load_pretrained=False)
    config = candidate_config(params, kind=kind, input=spec, calibration=Calibration(temperature=1.5))
    folder.mkdir(parents=True, exist_ok=True)
    return save_candidate(folder, head.state_dict(), uvit, config)
