"""A registered model answers like the candidate it was made from, wherever it is asked."""

import base64
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from serving_candidate import write_candidate

from dcube.classifier.candidate import load_candidate
from dcube.data.reading import to_square
from dcube.errors import DcubeError
from dcube.outbox import tracking_client
from dcube.registration import SERVING_NEEDS, Evaluated, register
from dcube.registry import Registry
from dcube.serving import Classifier, encoded
from dcube.tracking import tracked_run


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Grey and colour, square and not, PNG and JPEG."""
    generator = np.random.default_rng(0)
    files = [tmp_path / name for name in ("grey.png", "wide.png", "colour.jpg")]
    for file, shape in zip(files, [(40, 40), (50, 90), (64, 48, 3)], strict=True):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(file)
    return files


def expected(folder: Path, files: list[Path]) -> np.ndarray:
    arrays = [[to_square(Image.open(file), size, 1, "crop") for file in files] for size in (32, 16)]
    return load_candidate(folder, torch.device("cpu")).predict(*map(np.stack, arrays))


def table(files: list[Path]) -> pd.DataFrame:
    return pd.DataFrame({"image": [encoded(file) for file in files]})


@pytest.fixture
def classifier(tmp_path: Path, tiny_params) -> Classifier:
    write_candidate(tmp_path / "model", tiny_params)
    model = Classifier()
    model.load_context(SimpleNamespace(artifacts={"candidate": str(tmp_path / "model")}))
    return model


def test_answers_like_the_candidate(classifier, images, tmp_path):
    answer = classifier.predict(None, table(images))
    probabilities = answer[["probability_benign", "probability_malignant", "probability_normal"]].to_numpy()
    np.testing.assert_allclose(probabilities, expected(tmp_path / "model", images), atol=1e-6)
    assert list(answer["label"]) == [("benign", "malignant", "normal")[i] for i in probabilities.argmax(1)]


def png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    "cell", ["no base64!", "", base64.b64encode(b"text").decode(), png(np.zeros((40, 40), np.uint8))]
)
def test_what_is_no_image_is_refused_with_its_row(classifier, images, cell):
    rows = [encoded(images[0]), cell]
    with pytest.raises(DcubeError, match="row 1: "):
        classifier.predict(None, pd.DataFrame({"image": rows}))


def imports(module: str, seen: set[str]) -> set[str]:
    """Top-level names of everything that a module of this package imports, directly or through the package."""
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin
    found = set(re.findall(r"^(?:from|import) ([\w.]+)", Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE))
    seen.add(module)
    for inner in sorted(name for name in found if name.startswith("dcube.") and name not in seen):
        found |= imports(inner, seen)
    return {name.partition(".")[0] for name in found}


def test_everything_that_serving_imports_is_required():
    known = packages_distributions()
    needed = [
        {name.lower() for name in known[module]}
        for module in imports("dcube.serving", set()) - {"dcube", *sys.stdlib_module_names}
    ]
    assert all(distributions & set(SERVING_NEEDS) for distributions in needed), needed


@pytest.mark.slow
def test_mlflow_predicts_in_another_directory(tmp_path, tiny_params, images, monkeypatch):
    """As `mlflow models predict`, in a process that finds the package nowhere but inside the model."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    metrics = {
        "kind": "dcube", "weights_sha256": write_candidate(home / "models" / "dcube", tiny_params, kind="dcube"),
        "test": dict.fromkeys(("accuracy", "macro_precision", "macro_recall", "macro_f1", "auroc"), 0.5),
        "validation": {}, "test_fingerprint": "t", "dataset_fingerprint": "f", "is_phantom": True,
    }  # fmt: skip
    with tracked_run("register", {}) as run:
        registry = Registry.created(tracking_client(), "dcube-discs")
        evaluation = home / "evaluation"
        evaluation.mkdir()
        for name in ("predictions.csv", "metrics.json"):
            (evaluation / name).touch()
        register(registry, Evaluated("dcube", home / "models" / "dcube", evaluation, metrics), run.run_id, {})
    (elsewhere / "input.json").write_text(json.dumps({"dataframe_split": table(images).to_dict(orient="split")}))
    # An editable installation would lend the package to any directory: this hides it, so that only the model's is left.
    hide = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
    hide += f"sys.path[:] = [p for p in sys.path if p != {str(Path(__file__).parents[1])!r}]"
    (elsewhere / "sitecustomize.py").write_text(hide)
    command = [
        sys.executable, "-m", "mlflow", "models", "predict", "-m", "models:/dcube-discs/1", "-i", "input.json",
        "-o", "output.json", "--env-manager", "local",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(elsewhere)}
    assert subprocess.run([sys.executable, "-c", "import dcube"], cwd=elsewhere, env=environment).returncode == 1
    subprocess.run(command, cwd=elsewhere, env=environment, check=True)
    answer = pd.DataFrame(json.loads((elsewhere / "output.json").read_text())["predictions"])
    np.testing.assert_allclose(
        answer.filter(like="probability_").to_numpy(float),
        expected(home / "models" / "dcube", images),
        atol=1e-6,
    )
