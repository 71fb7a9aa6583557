"""timm's PiT-B for images of any size."""

import torch.nn.functional as F

from dcube.classifier.method import register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.image_classifier import ImageClassifier
from dcube.classifier.networks.timm_networks import timm_classifier
from dcube.config.schema import Pretrained
from dcube.engine.pretrained import create_pretrained


@register_method(
    title="PiT-B",
    family="Transformer",
    optimiser="adamw",
    learning_rate=6.25e-5,
    weight_decay=0.05,
    epochs=300,
    settings_from="Heo et al., as DeiT, 5e-4 for 512 images",
    reference="Heo et al., Rethinking Spatial Dimensions of Vision Transformers, ICCV 2021",
)
def build(task: Task, pretrained: Pretrained) -> ImageClassifier:
    """Build PiT-B and resample its position embedding (1, C, h, w), which timm cannot do for other image sizes."""
    network = create_pretrained("pit_b_224", image_size=task.image_size, num_classes=task.classes)
    if pretrained.weights != "none":
        state = timm_classifier("pit_b_224", task.classes, pretrained).state_dict()
        grid = network.state_dict()["pos_embed"].shape[2:]
        state["pos_embed"] = F.interpolate(state["pos_embed"], list(grid), mode="bicubic", antialias=True)
        network.load_state_dict(state)
    return ImageClassifier(network)
