"""A small registered version, and images to predict."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dcube.artifacts.layout import METRICS_FILE, PREDICTIONS, REFERENCE, SEEN
from dcube.artifacts.schemas.dataset import Extent, InputSpec, RawImages
from dcube.artifacts.schemas.seen import SeenImages
from dcube.classifier.candidate import Candidate, load_candidate
from dcube.config.schema import Evaluation, Params
from dcube.data.checks.lookalikes import perceptual_hash
from dcube.data.preprocessing import to_square
from dcube.evaluation.summary import evaluate_candidate
from dcube.inference.drift import reference_of
from dcube.registry.registration import EvaluatedCandidate, Registration, register
from dcube.registry.versions import CHALLENGER, RegisteredModel
from dcube.tracking import tags
from dcube.tracking.mlflow_client import tracking_client
from dcube.tracking.run import tracked_run
from tests.support.discs import write_dataset
from tests.support.evaluated_candidates import DATASET, predictions
from tests.support.random_candidate import CLASSES, SPEC, write_candidate

NAME = "dcube-asked"
COMMIT = "c" * 40
SEEN_PICTURES = range(1000, 1060)
SIZES = Extent(smallest=40, median=48.0, largest=64)
PICTURES = SPEC.model_copy(update={"raw": RawImages(modes={"L": 9}, modalities={"": 9}, width=SIZES, height=SIZES)})
SCANS = SPEC.model_copy(
    update={
        "raw": RawImages(modes={"DICOM MONOCHROME2 16 bits": 9}, modalities={"CT": 9}, width=SIZES, height=SIZES),
        "window_center": 40.0, "window_width": 400.0,
    }
)  # fmt: skip


def register_candidate(home: Path, params: Params, kind: str, spec: InputSpec, **changes: Any) -> tuple[str, Candidate]:
    """A new challenger of `dcube-asked` in the current folder's registry: its reference, and the candidate.

    Args:
        changes: values of its metrics to replace; `uncommitted`: files whose changes were not committed.
    """
    digest = write_candidate(home / "models" / kind, params, kind=kind, spec=spec)
    candidate = load_candidate(home / "models" / kind, torch.device("cpu"))
    write_reference(home / "models" / kind, candidate)
    seen = [as_seen(number) for number in SEEN_PICTURES]
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in seen]
    SeenImages.of(hashes, map(perceptual_hash, seen)).save(home / "models" / kind / SEEN)
    uncommitted = changes.pop("uncommitted", "none")
    made = predictions(dict.fromkeys(CLASSES, 20))
    usual = {"abstain_below": changes.pop("abstain_below", 0.0), "bootstrap_samples": 100}
    config = candidate.config.model_copy(update={"kind": kind, "weights_sha256": digest})
    point = changes.pop("operating_point", None)
    sets = changes.pop("prediction_sets", None)
    metrics = evaluate_candidate(kind, config, DATASET, made, Evaluation(**usual), point, sets).model_copy(
        update=changes
    )
    evaluation = home / "evaluation"
    evaluation.mkdir(exist_ok=True)
    made.save(evaluation / PREDICTIONS)
    metrics.save(evaluation / METRICS_FILE)
    origin = {tags.COMMIT: COMMIT, tags.UNCOMMITTED: uncommitted}
    with tracked_run("register", {}) as run:
        registered_model = RegisteredModel.created(tracking_client(), NAME)
        shared = Registration(registered_model.client.get_run(run.run_id), params, write_dataset(home / "prepared"))
        evaluated = EvaluatedCandidate(kind, home / "models" / kind, evaluation, metrics)
        version = register(registered_model, evaluated, shared, origin)
    registered_model.set_alias(CHALLENGER, version.version)
    return f"{NAME}/{version.version}", candidate


def write_reference(folder: Path, candidate: Candidate) -> None:
    """Write the reference of pictures 1000 … 1059, as the model's training would have."""
    images, small = (np.stack([as_seen(n, size) for n in SEEN_PICTURES]) for size in (32, 16))
    reference = reference_of(images, candidate.predict(images, small), candidate.classes)
    reference.save(folder / REFERENCE)


def as_seen(number: int, size: int = 32) -> np.ndarray:
    """Picture `number`, preprocessed: (1, size, size) uint8."""
    return to_square(Image.fromarray(pixels(number)), size, 1, "crop")


def pixels(number: int, shape: tuple[int, ...] = (48, 48)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def write_picture(file: Path, number: int, shape: tuple[int, ...] = (48, 48)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number, shape)).save(file)
    return file


def write_dicom(file: Path, number: int, patient: str = "P1", modality: str = "CT", frames: int = 1) -> Path:
    """Hounsfield units -200 … 309, which the window 40 ± 200 cuts on both sides."""
    file.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    stored = np.stack([hounsfield(number + frame) + 1024 for frame in range(frames)]).astype(np.uint16)
    dataset.update({})
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient, "Doe^Jane", modality
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = stored.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PixelData = stored.tobytes()
    dataset.save_as(file, enforce_file_format=True)
    return file


def hounsfield(number: int) -> np.ndarray:
    return pixels(number).astype(int) * 2 - 200
