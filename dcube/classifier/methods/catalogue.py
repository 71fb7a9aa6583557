"""The methods to compare with, by name: what tables call them, and how their authors or the paper train them.

Imports no network, so that commands and forms can list them. `building` makes the networks.
"""

from dataclasses import dataclass
from typing import Literal

Family = Literal["CNN", "Transformer", "Diffusion", "Foundation", "Control"]
Optimiser = Literal["adamw", "sgd"]

TABLE_IX = "D-Cube paper, Table IX"


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


# What a network without an entry of its own is trained with: the settings of stage 2.
UNLISTED = ("adamw", 2e-4, 0.03, 70, "D-Cube paper, §IV-B2")

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "resnet101", "ResNet-101", "CNN", "sgd", 1e-3, 1e-4, 50, TABLE_IX,
            "He et al., Deep Residual Learning for Image Recognition, CVPR 2016",
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
