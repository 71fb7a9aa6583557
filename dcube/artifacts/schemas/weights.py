"""What stands in every `config.json` beside the weights of a trained model."""

from dcube.artifacts.schemas.artifact import Artifact


class WeightsConfig(Artifact):
    """Attributes:
    weights_sha256: of the file with the weights; `save_weights` fills it in.
    """

    weights_sha256: str = ""
