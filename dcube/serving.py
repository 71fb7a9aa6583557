"""A registered model as MLflow serves it: images in, probabilities out. MLflow logs this file's text, no pickle."""

import base64
import binascii
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from dcube.classifier.candidate import load_candidate
from dcube.config import Compute
from dcube.data.reading import UnusableImageError, read_file, to_square
from dcube.engine.device import choose_device
from dcube.errors import DcubeError

CANDIDATE = "candidate"


class Classifier(PythonModel):
    """Input: a column `image`, each cell an image file in base64. Output: `label` and `probability_CLASS`."""

    def load_context(self, context: PythonModelContext) -> None:
        self.candidate = load_candidate(Path(context.artifacts[CANDIDATE]), choose_device(Compute()))

    def predict(self, context, model_input: pd.DataFrame, params=None):
        pictures = [_decoded(text, row) for row, text in enumerate(model_input["image"])]
        fit, channels = self.candidate.config["input"]["fit"], self.candidate.channels
        sizes = self.candidate.image_size, self.candidate.diffusion_image_size
        images, small_images = (
            np.stack([to_square(picture, size, channels, fit) for picture in pictures]) for size in sizes
        )
        probabilities = self.candidate.predict(images, small_images)
        classes = self.candidate.classes
        answer = {"label": np.array(classes)[probabilities.argmax(1)]}
        return pd.DataFrame(answer | {f"probability_{name}": probabilities[:, i] for i, name in enumerate(classes)})


def encoded(file: Path) -> str:
    """An image file as a cell of the column `image`."""
    return base64.b64encode(file.read_bytes()).decode("ascii")


def _decoded(text: str, row: int):
    try:
        content = base64.b64decode(text, validate=True)
        with tempfile.TemporaryDirectory() as folder:  # the one reader of image files takes a file
            file = Path(folder) / "image"
            file.write_bytes(content)
            return read_file(file).image
    except binascii.Error:
        raise DcubeError(f"row {row}: column image is no base64: encode a PNG or JPEG file's bytes") from None
    except UnusableImageError as error:
        raise DcubeError(f"row {row}: {error}") from None


mlflow.models.set_model(Classifier())
