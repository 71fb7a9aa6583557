"""The ImageNet network beside the U-ViT. Its feature map is the sub-features (paper §III-B2, Table VIII)."""

from typing import cast

from timm.models import FeatureInfo
from torch import nn

from dcube.config.schema import SubFeatures
from dcube.engine.pretrained import NO_WEIGHTS, create_pretrained


def build_sub_network(sub_features: SubFeatures, image_size: int, load_pretrained: bool) -> tuple[nn.Module, int]:
    """Return a timm feature network, (B, 3, S, S) to [(B, channels, h, w)], and its number of channels.

    Args:
        load_pretrained: False if all weights will be overwritten.
    """
    network = create_pretrained(
        sub_features.architecture,
        sub_features if load_pretrained else NO_WEIGHTS,
        image_size,
        features_only=True,
        out_indices=(sub_features.stage,),
    )
    return network, cast(FeatureInfo, network.feature_info).channels()[0]
