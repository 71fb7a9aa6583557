"""Base class of every `config.json` beside the weights of a trained model."""

from dcube.artifacts.schemas.artifact import Artifact


class WeightsConfig(Artifact):
    """Common fields of these files.

    Attributes:
        weights_sha256: checksum of the weights file; `save_weights` fills it in.
    """

    weights_sha256: str = ""
