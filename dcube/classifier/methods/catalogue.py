"""The methods to compare with, by name: what tables call them, and how their authors or the paper train them.

Imports no network, so that commands and forms can list them. `building` makes the networks.
"""

from dataclasses import dataclass
from typing import Literal

Family = Literal["CNN", "Transformer", "Diffusion", "Foundation", "Control"]
Optimiser = Literal["adamw", "sgd"]

TABLE_IX = "Table IX of the paper"
STAGE_2 = "D-Cube paper, §IV-B2 (its own head)"
MEDCLIP_PROBE = "Wang et al., code of MedCLIP, linear probes"


@dataclass(frozen=True)
class Method:
    """Attributes:
    name: value of `baseline.method`.
    title: as tables name it.
    optimiser, learning_rate, weight_decay, epochs: used where `baseline` says None.
    settings_from: where these come from.
    reference: the method's publication.
    """

    name: str
    title: str
    family: Family
    optimiser: Optimiser
    learning_rate: float
    weight_decay: float
    epochs: int
    settings_from: str
    reference: str

    @property
    def published(self) -> dict[str, str | float]:
        names = ("optimiser", "learning_rate", "weight_decay", "epochs")
        return {name: getattr(self, name) for name in names}


# What a network without an entry of its own is trained with: the settings of stage 2.
UNLISTED = ("adamw", 2e-4, 0.03, 70, "D-Cube paper, §IV-B2")

# Rates that are published for a whole batch of B images are scaled to the 64 of `baseline.batch_size`.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "resnet101", "ResNet-101", "CNN", "sgd", 1e-3, 1e-4, 50, TABLE_IX,
            "He et al., Deep Residual Learning for Image Recognition, CVPR 2016",
        ),
        Method(
            "resnext101", "ResNeXt-101", "CNN", "sgd", 1e-3, 1e-4, 50, TABLE_IX,
            "Xie et al., Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017",
        ),
        Method(
            "resnest50", "ResNeSt-50", "CNN", "sgd", 2.5e-2, 1e-4, 270, "Zhang et al., 0.1 for 256 images",
            "Zhang et al., ResNeSt: Split-Attention Networks, CVPR Workshops 2022",
        ),
        Method(
            "shufflenet_v2", "ShuffleNet V2", "CNN", "sgd", 1e-3, 5e-5, 50, TABLE_IX,
            "Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV 2018",
        ),
        Method(
            "t2t_vit", "T2T-ViT-14", "Transformer", "adamw", 6.25e-5, 0.05, 310, "Yuan et al., 1e-3 for 1024 images",
            "Yuan et al., Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet, ICCV 2021",
        ),
        Method(
            "vit_b16", "ViT-B/16", "Transformer", "adamw", 6e-6, 0.3, 200, TABLE_IX,
            "Dosovitskiy et al., An Image Is Worth 16x16 Words, ICLR 2021",
        ),
        Method(
            "cvt", "CvT-13", "Transformer", "adamw", 6.5e-5, 1e-2, 100, TABLE_IX,
            "Wu et al., CvT: Introducing Convolutions to Vision Transformers, ICCV 2021",
        ),
        Method(
            "mit_b0", "MiT-b0 (SegFormer)", "Transformer", "adamw", 8e-6, 1e-2, 100, TABLE_IX,
            "Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation, NeurIPS 2021",
        ),
        Method(
            "pit_b", "PiT-B", "Transformer", "adamw", 6.25e-5, 0.05, 300, "Heo et al., as DeiT, 5e-4 for 512 images",
            "Heo et al., Rethinking Spatial Dimensions of Vision Transformers, ICCV 2021",
        ),
        Method(
            "pvt_v2_b0", "PVT v2-b0", "Transformer", "adamw", 1e-5, 1e-2, 50, TABLE_IX,
            "Wang et al., PVT v2: Improved Baselines with Pyramid Vision Transformer, CVMJ 2022",
        ),
        Method(
            "pvt_tiny", "PVT-Tiny", "Transformer", "adamw", 8e-6, 1e-2, 50, TABLE_IX,
            "Wang et al., Pyramid Vision Transformer, ICCV 2021",
        ),
        Method(
            "radio", "RADIO (full tuning)", "Foundation", "adamw", 6e-6, 0.3, 200, f"{TABLE_IX}, row ViT-B/16",
            "Ranzinger et al., AM-RADIO: Reduce All Domains Into One, CVPR 2024",
        ),
        Method(
            "radio_lora", "RADIO + LoRA", "Foundation", "adamw", 5e-4, 1e-2, 30, "Hu et al., LoRA, as RoBERTa-base",
            "Ranzinger et al., AM-RADIO, CVPR 2024; Hu et al., LoRA, ICLR 2022",
        ),
        Method(
            "radio_probe", "RADIO + linear probe", "Foundation", "adamw", 5e-4, 0.0, 10, MEDCLIP_PROBE,
            "Ranzinger et al., AM-RADIO: Reduce All Domains Into One, CVPR 2024",
        ),
        Method(
            "medclip_probe", "Med-CLIP + linear probe", "Foundation", "adamw", 5e-4, 0.0, 10, MEDCLIP_PROBE,
            "Wang et al., MedCLIP: Contrastive Learning from Unpaired Medical Images and Text, EMNLP 2022",
        ),
        Method(
            "pixel_regression", "Logistic regression on pixels", "Control", "adamw", 2e-4, 0.03, 70, STAGE_2,
            "what the pixels give away without a network",
        ),
        Method(
            "diffmic", "DiffMIC", "Diffusion", "adamw", 1e-3, 0.0, 1000, "the authors' code, with Adam",
            "Yang et al., DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification, MICCAI 2023",
        ),
        Method(
            "cpt", "CPT", "Transformer", "adamw", 5e-5, 1e-2, 50, TABLE_IX,
            "Viriyasaranon et al., Unsupervised Visual Representation Learning Based on Segmentation of Geometric "
            "Pseudo-Shapes for Transformer-Based Medical Tasks, IEEE JBHI 2023",
        ),
    )
}  # fmt: skip


def method(name: str) -> Method:
    """The catalogue's entry, or one made up for a network of timm that has none."""
    return METHODS.get(name) or Method(name, name, "CNN", *UNLISTED, "timm")  # type: ignore[arg-type]
