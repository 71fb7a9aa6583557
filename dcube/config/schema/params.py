"""All parameter groups, and the constraints between them."""

from typing import Self

from pydantic import Field, model_validator

from dcube.config.schema.classifiers import Baseline, Classifier, Labels
from dcube.config.schema.compute import Compute
from dcube.config.schema.data import Data
from dcube.config.schema.diffusion import Diffusion, Fid, Synthesis
from dcube.config.schema.evaluation import Evaluation
from dcube.config.schema.features import Features, Probe
from dcube.config.schema.group import Group
from dcube.config.yaml_text import dump_yaml

MOST_PATCHES = 16_384  # attention memory grows with their square


class Params(Group):
    """All parameters of a run, in groups."""

    data: Data = Field(default_factory=Data)
    diffusion: Diffusion = Field(default_factory=Diffusion)
    fid: Fid = Field(default_factory=Fid)
    features: Features = Field(default_factory=Features)
    synthesis: Synthesis = Field(default_factory=Synthesis)
    labels: Labels = Field(default_factory=Labels)
    classifier: Classifier = Field(default_factory=Classifier)
    baseline: Baseline = Field(default_factory=Baseline)
    probe: Probe = Field(default_factory=Probe)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    compute: Compute = Field(default_factory=Compute)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        size, patch = self.data.diffusion_image_size, self.diffusion.patch_size
        if size % patch:
            raise ValueError(f"diffusion.patch_size ({patch}) must divide data.diffusion_image_size ({size})")
        if (size // patch) ** 2 > MOST_PATCHES:
            raise ValueError(
                f"{(size // patch) ** 2} patches an image are more than {MOST_PATCHES}: raise diffusion.patch_size "
                f"({patch}) or lower data.diffusion_image_size ({size})"
            )
        used = (*self.classifier.evaluation_timesteps, *self.probe.timesteps)
        highest = max(self.features.timestep, self.classifier.timestep_high, *used)
        if highest >= self.diffusion.timesteps:
            raise ValueError(f"timestep {highest} must be below diffusion.timesteps ({self.diffusion.timesteps})")
        for name in ("fid", "synthesis"):
            if (steps := getattr(self, name).sampling_steps) >= self.diffusion.timesteps:
                raise ValueError(
                    f"{name}.sampling_steps ({steps}) must be below diffusion.timesteps ({self.diffusion.timesteps})"
                )
        for name, least in (("diffusion", 1), ("classifier", 2), ("baseline", 2)):  # batch norm needs two
            batch_size, processes = getattr(self, name).batch_size, self.compute.processes
            if batch_size % processes:
                raise ValueError(f"compute.processes ({processes}) must divide {name}.batch_size ({batch_size})")
            if batch_size < least * processes:
                raise ValueError(f"{name}.batch_size ({batch_size}) must give each process {least} images or more")
        if self.features.keep > self.diffusion.depth + 1:
            raise ValueError(f"features.keep ({self.features.keep}) exceeds the {self.diffusion.depth + 1} blocks")
        return self

    def to_yaml(self) -> str:
        return dump_yaml(self.model_dump(mode="json"))
