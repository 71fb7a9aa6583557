"""The methods to compare with. One file in `methods/` is one method, whose name is the file's.

Imports no network itself: the file of a method is imported when it is first needed.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dcube.config.schema import Optimiser, Pretrained

Family = Literal["CNN", "Transformer", "Diffusion", "Foundation", "Control"]
Build = Callable[[Any, Pretrained], Any]  # of a `contract.Task`, to a torch module

TABLE_IX = "Table IX of the paper"
STAGE_2 = "D-Cube paper, §IV-B2 (its own head)"
MEDCLIP_PROBE = "Wang et al., code of MedCLIP, linear probes"
PACKAGE = "dcube.classifier.methods"
PROBE = "_probe"
# Of a linear probe, whatever network is frozen below it.
PROBE_SETTINGS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 5e-3, "weight_decay": 0.0, "epochs": 10, "settings_from": "chosen here",
}  # fmt: skip


@dataclass(frozen=True)
class Method:
    """Attributes:
    name: value of `baseline.method`.
    title: as tables name it.
    family: None for a network of timm, which does not say.
    optimiser, learning_rate, weight_decay, epochs: used where `baseline` says None. A rate that is published for a
        whole batch of B images is scaled to the 64 of `baseline.batch_size`.
    settings_from: where these come from.
    reference: the method's publication.
    build: makes the network; None: it is one of timm, named by `name`.
    """

    name: str
    title: str
    family: Family | None
    optimiser: Optimiser
    learning_rate: float
    weight_decay: float
    epochs: int
    settings_from: str
    reference: str
    build: Build | None = None

    @property
    def published(self) -> dict[str, str | float]:
        """The settings of `Optimisation` that come with the method."""
        names = ("optimiser", "learning_rate", "weight_decay", "epochs")
        return {name: getattr(self, name) for name in names}


_registered: dict[str, Method] = {}


def register_method(
    *,
    title: str,
    family: Family,
    optimiser: Optimiser,
    learning_rate: float,
    weight_decay: float,
    epochs: int,
    settings_from: str,
    reference: str,
) -> Callable[[Build], Build]:
    """Make the decorated function, which builds a network, the method that its file is named after."""

    def register(build: Build) -> Build:
        name = build.__module__.rpartition(".")[2]
        _registered[name] = Method(
            name, title, family, optimiser, learning_rate, weight_decay, epochs, settings_from, reference, build
        )
        return build

    return register


def method_names() -> list[str]:
    """The names of all methods; imports none of them."""
    return [module.name for module in pkgutil.iter_modules([str(Path(__file__).with_name("methods"))])]


def registered_method(name: str) -> Method | None:
    """The method of that name, if there is one; imports its file."""
    if name not in _registered and name in method_names():
        importlib.import_module(f"{PACKAGE}.{name}")
    return _registered.get(name)


def all_methods() -> list[Method]:
    """By family and name; imports all of them."""
    found = [registered_method(name) for name in method_names()]
    return sorted((it for it in found if it), key=lambda it: (str(it.family), it.name))


def method(name: str) -> Method:
    """The method of that name, or a network of timm.

    It is trained with the settings of stage 2; as `NETWORK_probe` it is frozen, below a linear probe.
    """
    if found := registered_method(name):
        return found
    if probed_network(name):
        return Method(name, name, None, reference="timm", **PROBE_SETTINGS)
    return Method(name, name, None, "adamw", 2e-4, 0.03, 70, "D-Cube paper, §IV-B2", "timm")


def probed_network(name: str) -> str | None:
    """The network of timm that `NETWORK_probe` freezes; None for other names. Of names that are not registered."""
    return name.removesuffix(PROBE) if name.endswith(PROBE) else None
