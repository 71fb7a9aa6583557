"""A linear probe on a frozen EfficientNet-Lite0 with ImageNet weights. It trains within a minute."""

from dcube.classifier.method import PROBE_SETTINGS, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.frozen import LinearProbe
from dcube.classifier.networks.timm_networks import timm_probe
from dcube.config.schema import Pretrained
from dcube.engine.pretrained import PACKAGED_ARCHITECTURE


@register_method(
    title="ImageNet + linear probe",
    family="CNN",
    **PROBE_SETTINGS,
    reference="what features of ImageNet tell as they are",
)
def build(task: Task, pretrained: Pretrained) -> LinearProbe:
    return timm_probe(PACKAGED_ARCHITECTURE, task, pretrained)
