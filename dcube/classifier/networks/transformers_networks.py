"""Image classifiers of the transformers library, which is slow to import and therefore imported inside functions."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dcube.classifier.networks.image_classifier import ImageClassifier
from dcube.classifier.networks.loading import IMAGENET, load_published
from dcube.config.schema import Pretrained


class Logits(nn.Module):
    """A classifier of the library that returns only logits: (B, 3, S, S) normalised pixels to (B, classes)."""

    pretrained_cfg = IMAGENET

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixel_values=pixels).logits


def with_weights(
    network: nn.Module, title: str, repository: str, pretrained: Pretrained, positions: str | None = None
) -> ImageClassifier:
    load_published(
        network,
        title,
        pretrained,
        lambda: _published(network, repository),
        fresh="classifier.",
        positions=positions,
        renamed=lambda tensors: under_current_names(network, tensors),
    )
    return ImageClassifier(Logits(network))


def _published(network: Any, repository: str) -> Mapping[str, Tensor]:
    """Return the tensors of a Hugging Face repository. A repository with only a pickle is refused."""
    _hush()
    return type(network).from_pretrained(repository, use_safetensors=True).state_dict()


def under_current_names(network: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that fit the class of `network` in its published size, renamed for this library version.

    Published files use the names of older versions.
    """
    _hush()
    published, report = type(network).from_pretrained(
        None,
        config=network.config_class(),
        state_dict=dict(tensors),
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    lost = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    return {name: tensor for name, tensor in published.state_dict().items() if name not in lost}


def _hush() -> None:
    """Silence messages and progress bars about layers that are replaced anyway."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
