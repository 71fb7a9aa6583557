"""MedCLIP's image encoder with a linear probe (Wang et al., MedCLIP, EMNLP 2022)."""

import torch.nn.functional as F
from torch import Tensor, nn

from dcube.artifacts.weights import under_prefix, with_prefix
from dcube.classifier.method import MEDCLIP_PROBE, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.frozen import LinearProbe
from dcube.classifier.networks.loading import load_published, only_pickled
from dcube.classifier.networks.transformers_networks import under_current_names
from dcube.config.schema import Pretrained

PIXELS = {"mean": (0.5862785803043838,) * 3, "std": (0.27950088968644304,) * 3}
SIDE = 224  # divisible into windows of 7 patches, and the size that MedCLIP was trained with
FEATURES = 512
PUBLISHED = "storage.googleapis.com/pytrial/medclip-vit-pretrained.zip"


class VisionEncoder(nn.Module):
    """A Swin-Tiny with the projection into the common space of images and texts."""

    pretrained_cfg = PIXELS

    def __init__(self) -> None:
        super().__init__()
        from transformers import SwinConfig, SwinModel  # slow to import

        self.model = SwinModel(SwinConfig())
        self.projection_head = nn.Linear(self.model.num_features, FEATURES, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        # fmt: off
        resized = F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)  # (B, 3, 224, 224)
        pooled = self.model(pixel_values=resized).pooler_output                         # (B, 768)
        # fmt: on
        return self.projection_head(pooled)  # (B, 512)


@register_method(
    title="Med-CLIP + linear probe",
    family="Foundation",
    optimiser="adamw",
    learning_rate=5e-4,
    weight_decay=0.0,
    epochs=10,
    settings_from=MEDCLIP_PROBE,
    reference="Wang et al., MedCLIP: Contrastive Learning from Unpaired Medical Images and Text, EMNLP 2022",
)
def build(task: Task, pretrained: Pretrained) -> LinearProbe:
    """Build the probe. A weights file contains all of MedCLIP; its text encoder is ignored."""
    encoder = VisionEncoder()
    load_published(
        encoder,
        "MedCLIP",
        pretrained,
        only_pickled("MedCLIP", PUBLISHED),
        renamed=lambda tensors: _vision(encoder, under_prefix("vision_model", dict(tensors))),
    )
    return LinearProbe(encoder, FEATURES, task.classes)


def _vision(encoder: VisionEncoder, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    swin = under_current_names(encoder.model, under_prefix("model", tensors))
    return with_prefix("model", swin) | with_prefix("projection_head", under_prefix("projection_head", tensors))
