"""C-RADIOv3-B with low-rank adapters in its attention (Hu et al., LoRA, ICLR 2022)."""

from dcube.classifier.method import register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.image_classifier import ImageClassifier
from dcube.classifier.networks.radio import VISIBLE, with_classifier
from dcube.config.schema import Pretrained

RANK = 8  # rank and alpha of RoBERTa in Hu et al., LoRA, ICLR 2022, Table 9


class LoraClassifier(ImageClassifier):
    """A classifier that stays in eval mode: trained layers have no train mode, and frozen ones must not change."""

    def train(self, mode: bool = True) -> "LoraClassifier":
        return super().train(False)


@register_method(
    title="RADIO + LoRA",
    family="Foundation",
    optimiser="adamw",
    learning_rate=5e-4,
    weight_decay=1e-2,
    epochs=30,
    settings_from="Hu et al., LoRA, as RoBERTa-base",
    reference="Ranzinger et al., AM-RADIO, CVPR 2024; Hu et al., LoRA, ICLR 2022",
)
def build(task: Task, pretrained: Pretrained) -> LoraClassifier:
    """Build the classifier. Only the adapters of query, key and value, and the last layer, are trained."""
    from peft import LoraConfig, inject_adapter_in_model  # slow to import

    network = with_classifier(task, pretrained, **VISIBLE)
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["qkv"]), network)
    network.head.requires_grad_(True)  # type: ignore[union-attr]
    return LoraClassifier(network)
