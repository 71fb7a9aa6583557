"""Where everything of a working copy stands. Only stages and commands know these."""

from pathlib import Path

PARAMS = Path("params.yaml")
RAW = Path("data")
PREPARED = Path("outputs/prepared")
DIFFUSION = Path("outputs/diffusion")
FID = Path("outputs/fid")
FEATURES = Path("outputs/features")
SYNTHETIC = Path("outputs/synthetic")
MODELS = Path("outputs/models")
EVALUATION = Path("outputs/evaluation")
REGISTERED = Path("outputs/registered")
CHECKPOINTS = Path(".dcube/checkpoints")
CACHE = Path(".dcube/cache")
