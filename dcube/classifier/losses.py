"""The losses of stage 2: Eq. (7), (8) and (10). Eq. (9) is torch's cross-entropy."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcube.diffusion.uvit import UViT


def cycle_loss(model: UViT, noisy: Tensor, t: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Eq. (7): ‖ε_θ(x_t, t, ŷ) − ε_θ(x_t, t, y)‖², mean over pixels.

    ŷ is the expected label embedding (probabilities × embeddings), so that the gradient reaches the classifier; an
    argmax would have no gradient. ε_θ is frozen.

    Args:
        noisy: (B, C, S, S), x_t.
        t: (B,) timesteps.
        logits: (B, classes), output of the classifier.
        labels: (B,) true classes.
    """
    with torch.no_grad():
        truth = model(noisy, t, model.embed_labels(labels))
    predicted = model(noisy, t, model.embed_probabilities(logits.float().softmax(dim=1)))
    return F.mse_loss(predicted.float(), truth.float())


def consistency_loss(logits: Tensor, flipped_logits: Tensor) -> Tensor:
    """Eq. (8): mean over the batch of the squared distance between an image's logits and its mirror image's."""
    return (logits.float() - flipped_logits.float()).square().sum(dim=1).mean()
