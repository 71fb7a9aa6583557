"""A real candidate with random weights, small enough to log and serve in tests."""

from pathlib import Path

import torch

from dcube.classifier.candidate import build_head, save_candidate
from dcube.config import Params

CLASSES = ["benign", "malignant", "normal"]


def write_candidate(folder: Path, params: Params, seed: int = 0) -> str:
    """Write it and return the sha256 of its weights."""
    torch.manual_seed(seed)
    head = build_head("sub_features", params.classifier, params.baseline, len(CLASSES), None, load_pretrained=False)
    config = {
        "kind": "sub_features", "classes": CLASSES, "channels": 1, "image_size": 32, "diffusion_image_size": 16,
        "fit": "crop", "evaluation_timesteps": [1], "data_fingerprint": "f" * 64,
        "params": params.model_dump(mode="json", include={"classifier", "baseline", "diffusion"}),
        "validation": {"auroc": 0.9, "cross_entropy": 0.5, "accuracy": 0.8},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    return save_candidate(folder, head.state_dict(), None, config)
