"""Record of an external test in MLflow: a run in the version's experiment, and a tag on the version."""

from pathlib import Path

from dcube.artifacts.checksums import sha256_of
from dcube.artifacts.layout import METRICS_FILE, PREDICTIONS
from dcube.artifacts.schemas.drift import DriftReport
from dcube.inference.external import ExternalTest
from dcube.registry.candidate_run import log_metrics
from dcube.registry.external_tags import external_tag
from dcube.registry.references import resolve_reference
from dcube.tracking import tags
from dcube.tracking.batches import milliseconds, send_params


def save_external_test(test: ExternalTest, folder: Path) -> None:
    """Write metrics, predictions with pseudonyms, and the drift from the model's own validation images."""
    folder.mkdir(parents=True, exist_ok=True)
    test.metrics.save(folder / METRICS_FILE)
    test.predictions.save(folder / PREDICTIONS)
    DriftReport(rows=test.drift).save(folder / "drift.json")


def log_external_test(reference: str, test: ExternalTest, folder: Path) -> None:
    """Log an external test as a run, and add a tag for it to the version.

    Args:
        reference: `MODEL@ALIAS` or `MODEL/VERSION`.
        folder: folder that `save_external_test` has written.
    """
    registered_model, version = resolve_reference(reference)
    source = registered_model.client.get_run(version.run_id)
    client, metrics, number = registered_model.client, test.metrics, version.version
    origin = {
        tags.EXTERNAL_TEST: metrics.dataset,
        tags.WEIGHTS: metrics.weights_sha256,
        tags.TEST: metrics.test_fingerprint,
    }
    run = client.create_run(
        source.info.experiment_id,
        tags=origin,
        run_name=f"{registered_model.name}/{number} on {metrics.dataset}",
        start_time=milliseconds(),
    )
    send_params(
        client, run.info.run_id, {"model": registered_model.name, "version": number, "test set": metrics.dataset}
    )
    log_metrics(client, run.info.run_id, {f"external.{name}": value for name, value in metrics.test.items()})
    client.log_artifacts(run.info.run_id, str(folder))
    client.set_terminated(run.info.run_id)
    text = external_tag(metrics, run.info.run_id, sha256_of(folder / METRICS_FILE))
    client.set_model_version_tag(registered_model.name, number, f"{tags.EXTERNAL}{metrics.dataset}", text)
