"""Where everything of a working copy stands. The methods get folders as arguments, and know the files in them."""

from pathlib import Path

GRAPH = Path("dvc.yaml")
PARAMS = Path("params.yaml")
PLAN, PLAN_PAGE = Path("plan.json"), Path("plan.md")  # how the parameters were planned, if they were
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
HISTORY, VALIDATION = "history.csv", "validation.csv"  # there too: losses, and metrics of validation, over the steps
REFERENCE = "reference.json"  # in a candidate's folder: what new images are compared with
SEEN = "seen_images.json"  # there too: the images of its data set
FID_REPORT, SAMPLES = "fid.json", "samples.npz"  # in FID; the latter are real and generated images of every class
SELECTION = "selection.json"  # in FEATURES
PROBE_REPORT = "probe.json"  # in PROBE
AUDIT = "audit.json"  # in SYNTHETIC
METRICS_FILE, PREDICTIONS = "metrics.json", "predictions.csv"  # in a candidate's folder below EVALUATION
HEADLINE = "headline.json"  # in FID and in a candidate's folder below EVALUATION: the one number that DVC compares
SERVING = "serving.json"  # beside a candidate in a registered model
VERSIONS = "registered.json"  # in REGISTERED
REPORT = "report"  # artifact folder of a registering run: what a page about the version is made from …
REPORT_PAGE = "report.html"  # there too: that page as it was registered
REPORTED = (  # … and these are it, as far as they are there
    PREPARED / DATASET,
    DIFFUSION / CONFIG,
    DIFFUSION / HISTORY,
    DIFFUSION / VALIDATION,
    FID / FID_REPORT,
    FID / SAMPLES,
    FEATURES / SELECTION,
    SYNTHETIC / AUDIT,
)
