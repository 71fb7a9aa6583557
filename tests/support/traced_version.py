"""A repository of a few plain stages, and a version registered from it as the stage `register` would."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities.model_registry import ModelVersion

from dcube.artifacts.checksums import hashes_of
from dcube.config.schema import Params
from dcube.evaluation.metrics import HEADLINES
from dcube.registry.promotion import appoint_first
from dcube.registry.versions import CHAMPION, RegisteredModel
from dcube.tracking import lineage, tags
from dcube.tracking.mlflow_client import tracking_client
from dcube.tracking.run import tracked_run
from dcube.tracking.verification import write_manifest
from tests.support.metrics import made_metrics, made_predictions

NAME = "dcube-small"
MODEL_FILES = "model/artifacts/dcube"  # where the run keeps them
PARAMS = Params.model_validate({"classifier": {"epochs": 7}}).to_yaml()
DVC_YAML = """
stages:
  prepare:
    cmd: python stage.py outputs/prepared/text data/raw.txt
    deps: [data, stage.py]
    params: [data]
    outs: [outputs/prepared]
  train_classifier:
    cmd: python stage.py outputs/models/dcube/config.json outputs/prepared/text
    deps: [outputs/prepared, stage.py]
    params: [classifier]
    outs: [outputs/models/dcube]
  evaluate:
    matrix: {model: [dcube]}
    cmd: python stage.py outputs/evaluation/${item.model}/metrics.json outputs/models/dcube/config.json
    deps: ["outputs/models/${item.model}", stage.py]
    outs: ["outputs/evaluation/${item.model}"]
"""
STAGE = (
    f"METRICS = {made_metrics().model_dump_json()!r}\nPREDICTIONS = {made_predictions()!r}\n"
    + """
import hashlib, json, os, sys
from pathlib import Path

out, source = map(Path, sys.argv[1:])
out.parent.mkdir(parents=True, exist_ok=True)
chance = os.urandom(8) if Path(os.environ["LOG"] + ".chance").exists() else b""
digest = hashlib.sha256(source.read_bytes() + Path("params.yaml").read_bytes() + chance).hexdigest()
test = {"macro_f1": int(digest[:8], 16) / 2**32, "auroc": float("nan")}
weights = json.loads(source.read_text())["weights_sha256"] if out.name == "metrics.json" else ""
if out.name == "config.json":
    out.with_name("model.safetensors").write_text(digest)
    weights = hashlib.sha256(digest.encode()).hexdigest()
if out.name == "metrics.json":
    out.with_name("predictions.csv").write_text(PREDICTIONS.replace(".png", digest))
contents = {
    "text": source.read_text(),
    "config.json": json.dumps({"weights_sha256": weights}),
    "metrics.json": json.dumps(json.loads(METRICS) | {"test": test, "weights_sha256": weights}),
}
out.write_text(contents[out.name])
with Path(os.environ["LOG"]).open("a") as file:
    print(out.parent.name, os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("DCUBE_MAX_FRAMES"), file=file)
"""
)


def command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def commit(message: str) -> str:
    command("git", "add", "--all")
    command("git", "-c", "user.name=A Tester", "-c", "user.email=a@example.org", "commit", "-qm", message)
    return command("git", "rev-parse", "HEAD").strip()


def build_repository() -> None:
    """Build the repository in the current folder, with everything computed and committed."""
    command("git", "init", "--quiet")
    command(sys.executable, "-m", "dvc", "init", "--quiet")
    files = {
        "data/raw.txt": "raw", "dvc.yaml": DVC_YAML, "stage.py": STAGE, "params.yaml": PARAMS,
        "dcube/code.py": "answer = 42\n", ".gitignore": "/data\n/outputs/\n/.dcube/\n*.db\n/mlruns/\n/artifacts/\n",
    }  # fmt: skip
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    command(sys.executable, "-m", "dvc", "add", "--quiet", "data")
    commit("A small pipeline")
    command(sys.executable, "-m", "dvc", "repro", "--quiet")


def register_version() -> ModelVersion:
    """Register what is in `outputs`; its training and its evaluation have runs of their own."""
    metrics_text = Path("outputs/evaluation/dcube/metrics.json").read_text()
    weights = json.loads(metrics_text)["weights_sha256"]
    runs = {}
    for tag, stage in ((tags.TRAINING_RUN, "train_classifier"), (tags.EVALUATION_RUN, "evaluate@dcube")):
        with tracked_run(stage, {}) as run:
            run.set_tags({tags.WEIGHTS: weights})
        runs[tag] = run.run_id
    places = {MODEL_FILES: Path("outputs/models/dcube"), "evaluation/dcube": Path("outputs/evaluation/dcube")}
    with tracked_run("register", {}) as run:
        for name, text in lineage.origin_files().items():
            run.log_text(text, f"{lineage.ORIGIN}/{name}")
        for place, folder in places.items():
            run.log_artifacts(folder, place)
    registered_model = RegisteredModel.created(tracking_client(), NAME)
    values = {f"{tags.TEST_METRIC}{metric.name}": "0.5" for metric in HEADLINES}
    own = lineage.origin_tags("evaluate@dcube") | runs | values | {
        tags.MODEL: "dcube", tags.KIND: "dcube", tags.WEIGHTS: weights, tags.EVALUATION: "e" * 64,
        tags.TEST: "t" * 64, tags.CODE: lineage.code_fingerprint(Path("dcube")), tags.DATASET: "f" * 64,
        tags.ABSTAIN: "0.0",
    }  # fmt: skip
    entry = registered_model.client.create_model_version(NAME, f"runs:/{run.run_id}/model", run_id=run.run_id, tags=own)
    origin = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in lineage.origin_files().items()}
    sent = {lineage.ORIGIN: origin, "evaluation/dcube": hashes_of(places["evaluation/dcube"])}
    registered = registered_model.client.get_run(run.run_id)
    registered_model.client.set_tag(run.run_id, tags.REGISTERED_MODEL, NAME)
    with TemporaryDirectory() as folder:
        write_manifest(registered_model.client, entry, registered, sent, Path(folder))
    version = registered_model.version(str(entry.version))
    if registered_model.holder(CHAMPION) is None:
        appoint_first(registered_model, version, "a test")
    else:
        registered_model.client.set_registered_model_alias(NAME, CHAMPION, version.version)
    return version.entry


def break_cache(repository: Path) -> None:
    shutil.rmtree(repository / ".dvc/cache")
