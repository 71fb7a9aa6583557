"""Makes the network of a method. A new method is one small file with a `build`, and a line here and in `catalogue`."""

from torch import nn

from dcube.classifier.head import ImageClassifier
from dcube.classifier.methods import cpt, diffmic
from dcube.classifier.methods.contract import Build, Task
from dcube.classifier.methods.medclip import medclip_probe
from dcube.classifier.methods.pixel_regression import pixel_regression
from dcube.classifier.methods.radio import radio, radio_lora, radio_probe
from dcube.classifier.methods.t2t_vit import t2t_vit
from dcube.classifier.methods.timm_networks import pit_b, timm_classifier
from dcube.classifier.methods.torchvision_networks import shufflenet_v2
from dcube.classifier.methods.transformers_networks import cvt, mit_b0, pvt_tiny
from dcube.config.schema import Pretrained


def timm_network(architecture: str) -> Build:
    """A network of timm as it is."""

    def build(task: Task, pretrained: Pretrained) -> nn.Module:
        return ImageClassifier(timm_classifier(architecture, task.classes, pretrained, image_size=task.image_size))

    return build


BUILDERS: dict[str, Build] = {
    # CNNs
    "resnet101": timm_network("resnet101"),
    "resnext101": timm_network("resnext101_32x8d"),
    "resnest50": timm_network("resnest50d"),
    "shufflenet_v2": shufflenet_v2,
    # Transformers
    "t2t_vit": t2t_vit,
    "vit_b16": timm_network("vit_base_patch16_224"),
    "cvt": cvt,
    "mit_b0": mit_b0,
    "pit_b": pit_b,
    "pvt_v2_b0": timm_network("pvt_v2_b0"),
    "pvt_tiny": pvt_tiny,
    "cpt": cpt.build,
    # Diffusion models
    "diffmic": diffmic.build,
    # Foundation models
    "radio": radio,
    "radio_lora": radio_lora,
    "radio_probe": radio_probe,
    "medclip_probe": medclip_probe,
    # Controls
    "pixel_regression": pixel_regression,
}


def build_method(name: str, task: Task, pretrained: Pretrained) -> nn.Module:
    """The network of a method of the catalogue, or the network of timm with this name.

    Raises:
        DcubeError: no such network, or no such weights.
    """
    return BUILDERS.get(name, timm_network(name))(task, pretrained)
