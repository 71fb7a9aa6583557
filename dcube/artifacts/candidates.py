"""The candidates of a pipeline: their names, and the stages of dvc.yaml that train them."""

from typing import Literal

CandidateName = Literal["imagenet_probe", "dcube", "untrained_uvit", "sub_features", "baseline"]

IMAGENET_PROBE: CandidateName = "imagenet_probe"
DCUBE: CandidateName = "dcube"
UNTRAINED: CandidateName = "untrained_uvit"
SUB_FEATURES: CandidateName = "sub_features"
BASELINE: CandidateName = "baseline"  # its kind is the name of the method in baseline.method
CONTROLS = (UNTRAINED, SUB_FEATURES)  # the first shows what training the U-ViT gains, the second what the U-ViT gains
ON_DIFFUSION_FEATURES = (DCUBE, UNTRAINED)
CLASSIFIER_KINDS = (*ON_DIFFUSION_FEATURES, SUB_FEATURES)  # trained by the parameter group `classifier`

STAGES: dict[CandidateName, str] = {
    IMAGENET_PROBE: "train_imagenet_probe",
    DCUBE: "train_classifier",
    UNTRAINED: "train_untrained_uvit",
    SUB_FEATURES: "train_sub_features",
    BASELINE: "train_baseline",
}
TRAINING_STAGES = " ".join(STAGES.values())
