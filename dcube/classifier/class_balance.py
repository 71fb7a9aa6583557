"""Class balance in training: weights in the loss, balanced sampling, or logit adjustment.

Only one of them is used at a time: each alone gives all classes the same weight, and two would overweight rare ones.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch import Tensor, nn

from dcube.classifier.networks.contract import OwnLosses
from dcube.config.schema import ClassBalance
from dcube.engine.seeds import numpy_generator
from dcube.errors import DcubeError

CrossEntropy = Callable[[Tensor, Tensor], Tensor]  # takes logits (B, classes) and labels (B,)


def cross_entropy_of(balance: ClassBalance, labels: np.ndarray, device: torch.device) -> CrossEntropy:
    """Return the cross-entropy for a class balance. `labels`: (n,) classes of all training images, none missing."""
    if balance == "loss_weights":
        weights = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
        return _weighted(torch.tensor(weights, dtype=torch.float32, device=device))
    if balance == "logit_adjustment":
        shares = np.bincount(labels) / len(labels)
        log_prior = torch.tensor(np.log(shares), dtype=torch.float32, device=device)
        # Menon et al., ICLR 2021, Eq. (10) with tau = 1, which is consistent for the balanced error.
        return lambda logits, labels: F.cross_entropy(logits + log_prior, labels)
    return F.cross_entropy


def _weighted(weights: Tensor) -> CrossEntropy:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        # The `weight` of `F.cross_entropy` divides by the sum of the batch's weights, which differs between shards.
        return (weights[labels] * F.cross_entropy(logits, labels, reduction="none")).mean()

    return loss


def validation_weights(balance: ClassBalance, labels: np.ndarray) -> np.ndarray | None:
    """Return image weights (n,) that balance the classes in validation as in training; None: all images equal."""
    return None if balance == "none" else compute_sample_weight("balanced", labels)


def epoch_order(balance: ClassBalance, labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return the order of an epoch, (n,) positions: each image once, or with `sampling` every class equally often."""
    generator = numpy_generator(seed, "order", epoch)
    if balance != "sampling":
        return generator.permutation(len(labels))
    owners = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    shares = [len(part) for part in np.array_split(labels, len(owners))]
    return generator.permutation(
        np.concatenate([np.resize(generator.permutation(own), n) for own, n in zip(owners, shares, strict=True)])
    )


def refuse_without_effect(balance: ClassBalance, head: nn.Module, kind: str) -> None:
    """Raise `DcubeError` if the network has its own loss, which the setting would not affect."""
    if balance in ("loss_weights", "logit_adjustment") and isinstance(head, OwnLosses):
        raise DcubeError(
            f"class_balance: {balance} does not apply to {kind}, which has a loss of its own: use sampling"
        )
