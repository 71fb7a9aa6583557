"""Where everything of a working copy stands. Only stages and commands know these."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
RAW = Path("data")
PREPARED = Path("outputs/prepared")
DIFFUSION = Path("outputs/diffusion")
FID = Path("outputs/fid")
FEATURES = Path("outputs/features")
PROBE = Path("outputs/probe")
SYNTHETIC = Path("outputs/synthetic")
MODELS = Path("outputs/models")
EVALUATION = Path("outputs/evaluation")
REGISTERED = Path("outputs/registered")
CHECKPOINTS = Path(".dcube/checkpoints")
FINISHED = Path(".dcube/finished")
CACHE = Path(".dcube/cache")

DATASET, MANIFEST = "dataset.json", "manifest.csv"  # in PREPARED; SYNTHETIC has such a manifest too
WEIGHTS, CONFIG = "model.safetensors", "config.json"  # in a folder of a trained model
SAMPLES = "samples.npz"  # in FID: some real and generated images of every class
REPORT = "report"  # artifact folder of a registering run: what a page about the version is made from …
REPORTED = (  # … and these are it, as far as they are there
    PREPARED / DATASET,
    DIFFUSION / "history.csv",
    DIFFUSION / "validation.csv",
    FID / "fid.json",
    FID / SAMPLES,
    FEATURES / "selection.json",
    SYNTHETIC / "audit.json",
)


def checkpoint_root() -> Path:
    """Where checkpoints stand: `DCUBE_CHECKPOINTS`, a folder that several working copies share, or this one's own."""
    return Path(os.environ.get("DCUBE_CHECKPOINTS", CHECKPOINTS))
