"""Registry of the baseline methods. Each file in `methods/` is one method with the file's name.

No network is imported here: a method's file is imported when it is first needed.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dcube.config.schema import Optimiser, Pretrained

Family = Literal["CNN", "Transformer", "Diffusion", "Foundation", "Control"]
Build = Callable[[Any, Pretrained], Any]  # from a `contract.Task` and the weights to a torch module

TABLE_IX = "Table IX of the paper"
STAGE_2 = "D-Cube paper, §IV-B2 (its own head)"
MEDCLIP_PROBE = "Wang et al., code of MedCLIP, linear probes"
PACKAGE = "dcube.classifier.methods"
PROBE = "_probe"
# Settings of every linear probe, whichever network is frozen.
PROBE_SETTINGS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 5e-3, "weight_decay": 0.0, "epochs": 10, "settings_from": "chosen here",
}  # fmt: skip


@dataclass(frozen=True)
class Method:
    """A baseline method.

    Attributes:
        name: value of `baseline.method`.
        title: name in tables.
        family: family of the network; None for a timm network, whose family is unknown.
        optimiser, learning_rate, weight_decay, epochs: settings used if `baseline` gives None. A learning rate
            published for batches of B images is scaled to the 64 images of `baseline.batch_size`.
        settings_from: source of these settings.
        reference: publication of the method.
        build: builds the network; None: `name` is a timm network.
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
        """The method's own values of `Optimisation`."""
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
    """Register the decorated function, which builds a network, as the method named like its file."""

    def register(build: Build) -> Build:
        name = build.__module__.rpartition(".")[2]
        _registered[name] = Method(
            name, title, family, optimiser, learning_rate, weight_decay, epochs, settings_from, reference, build
        )
        return build

    return register


def method_names() -> list[str]:
    """Return the names of all methods without importing them."""
    return [module.name for module in pkgutil.iter_modules([str(Path(__file__).with_name("methods"))])]


def registered_method(name: str) -> Method | None:
    """Import and return the method with this name; None if there is none."""
    if name not in _registered and name in method_names():
        importlib.import_module(f"{PACKAGE}.{name}")
    return _registered.get(name)


def all_methods() -> list[Method]:
    """Import and return all methods, sorted by family and name."""
    found = [registered_method(name) for name in method_names()]
    return sorted((it for it in found if it), key=lambda it: (str(it.family), it.name))


def method(name: str) -> Method:
    """Return the method with this name, or a method for the timm network with this name.

    A timm network is trained with the settings of stage 2, or frozen below a linear probe if called `NETWORK_probe`.
    """
    if found := registered_method(name):
        return found
    if probed_network(name):
        return Method(name, name, None, reference="timm", **PROBE_SETTINGS)
    return Method(name, name, None, "adamw", 2e-4, 0.03, 70, "D-Cube paper, §IV-B2", "timm")


def probed_network(name: str) -> str | None:
    """Return NETWORK for the unregistered name `NETWORK_probe`; None for a name without this suffix."""
    return name.removesuffix(PROBE) if name.endswith(PROBE) else None
