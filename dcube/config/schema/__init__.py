"""`params.yaml` as frozen pydantic models, in groups. Each field has a description and bounds.

Defaults are the paper's values (§IV-B and the published configuration) wherever the paper has one.
Presets (`dcube/config/presets/*.yaml`) contain only the differences from these defaults.
"""

from dcube.config.schema.classifiers import (
    Augmentation,
    Baseline,
    BlockChoice,
    ClassBalance,
    Classifier,
    ExtraImages,
    HeadSettings,
    Labels,
    Optimisation,
    Optimiser,
    Pretrained,
    SubFeatures,
)
from dcube.config.schema.compute import Compute
from dcube.config.schema.data import Channels, Data, Fit
from dcube.config.schema.diffusion import Diffusion, Fid, Synthesis
from dcube.config.schema.evaluation import ChosenBy, Evaluation
from dcube.config.schema.features import Features, Null, Probe
from dcube.config.schema.group import Group, Seed
from dcube.config.schema.params import Params

__all__ = [
    "Augmentation",
    "Baseline",
    "BlockChoice",
    "Channels",
    "ChosenBy",
    "ClassBalance",
    "Classifier",
    "Compute",
    "Data",
    "Diffusion",
    "Evaluation",
    "ExtraImages",
    "Features",
    "Fid",
    "Fit",
    "Group",
    "HeadSettings",
    "Labels",
    "Null",
    "Optimisation",
    "Optimiser",
    "Params",
    "Pretrained",
    "Probe",
    "Seed",
    "SubFeatures",
    "Synthesis",
]
