"""Paths of a working copy. Library functions take folders as arguments, and only know the file names in them."""

from pathlib import Path

GRAPH = Path("dvc.yaml")
PARAMS = Path("params.yaml")
PLAN, PLAN_PAGE = Path("plan.json"), Path("plan.md")  # written by `dcube plan`
LOCK, DATA_RECORD = Path("dvc.lock"), Path("data.dvc")
RAW = Path("data")
PREPARED = Path("outputs/prepared")
DIFFUSION = Path("outputs/diffusion")
FID = Path("outputs/fid")
FEATURES = Path("outputs/features")
PROBE = Path("outputs/probe")
SYNTHETIC = Path("outputs/synthetic")
MODELS = Path("outputs/models")
EVALUATION = Path("outputs/evaluation")
REGISTERED = Path("outputs/registered")
FINISHED = Path(".dcube/finished")
CACHE = Path(".dcube/cache")

DATASET, MANIFEST = "dataset.json", "manifest.csv"  # in PREPARED; SYNTHETIC has such a manifest too
WEIGHTS, CONFIG = "model.safetensors", "config.json"  # in a folder of a trained model
HISTORY, VALIDATION = "history.csv", "validation.csv"  # there too: losses and validation metrics by step
REFERENCE = "reference.json"  # in a candidate's folder: new images are compared with it
SEEN = "seen_images.json"  # there too: the images of its data set
FID_REPORT, SAMPLES = "fid.json", "samples.npz"  # in FID; the samples are real and generated images of every class
SELECTION = "selection.json"  # in FEATURES
PROBE_REPORT = "probe.json"  # in PROBE
AUDIT = "audit.json"  # in SYNTHETIC
METRICS_FILE, PREDICTIONS = "metrics.json", "predictions.csv"  # in a candidate's folder below EVALUATION
VALIDATION_PREDICTIONS, MODEL_CARD = "validation_predictions.csv", "model_card.md"  # there too
HEADLINE = "headline.json"  # in FID and in a candidate's folder below EVALUATION: the metric that DVC compares
SERVING = "serving.json"  # beside a candidate in a registered model
VERSIONS = "registered.json"  # in REGISTERED
REPORT = "report"  # artifact folder of a registering run: the files from which the version's report is made …
REPORT_PAGE = "report.html"  # there too: the report as of the registration
REPORTED = (  # … which are these, if they exist
    PREPARED / DATASET,
    DIFFUSION / CONFIG,
    DIFFUSION / HISTORY,
    DIFFUSION / VALIDATION,
    FID / FID_REPORT,
    FID / SAMPLES,
    FEATURES / SELECTION,
    SYNTHETIC / AUDIT,
)
