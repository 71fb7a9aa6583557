"""Tag of an external test on a version: one line with a metric, its run, and the sha256 of the metrics file."""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from dcube.artifacts.checksums import sha256_of
from dcube.artifacts.layout import METRICS_FILE
from dcube.artifacts.schemas.metrics import Metrics
from dcube.errors import DcubeError
from dcube.evaluation.metrics import metric_of
from dcube.evaluation.summary import interval_text, lookalikes_in_words, tested_on
from dcube.registry.version import Version
from dcube.registry.versions import RegisteredModel
from dcube.tracking import tags
from dcube.tracking.downloads import download

SOURCE = re.compile(r"run ([0-9a-f]{32}), sha256 of its metrics ([0-9a-f]{64})")


def external_tag(metrics: Metrics, run_id: str, digest: str) -> str:
    """Return the text of the tag.

    Args:
        digest: sha256 of the run's metrics file.
    """
    auroc = metric_of("auroc")
    value = f"{auroc.title} {metrics.test[auroc.name]:.3f} ({interval_text(metrics, auroc.name)})"
    measured = "; ".join(filter(None, (f"{value}, {tested_on(metrics)}", lookalikes_in_words(metrics))))
    return f"{measured}; run {run_id}, sha256 of its metrics {digest}"


def run_id_of(version: Version, name: str) -> str:
    """Return the id of the run that the tag of the external test `name` is from.

    Raises:
        DcubeError: if the version has no such tag.
    """
    source = SOURCE.search(version.entry.tags.get(f"{tags.EXTERNAL}{name}", ""))
    if source is None:
        raise DcubeError(f"{version.name}/{version.version} has no tag of the external test {name!r}: evaluate again")
    return source[1]


def unconfirmed_external_tests(registered_model: RegisteredModel, version: Version) -> Iterator[str]:
    """Yield a message for every tag of an external test that its run does not confirm."""
    for name, text in _external_tags(version):
        if problem := _problem(registered_model, version, name, text):
            yield f"the tag {name!r} {problem}"


def confirmed_external_tests(registered_model: RegisteredModel, version: Version) -> dict[str, str]:
    """Return name of the test set → text of the tag, for every external test that its run confirms."""
    found = _external_tags(version)
    return {
        name.removeprefix(tags.EXTERNAL): text
        for name, text in found
        if not _problem(registered_model, version, name, text)
    }


def _external_tags(version: Version) -> list[tuple[str, str]]:
    return sorted((name, text) for name, text in version.entry.tags.items() if name.startswith(tags.EXTERNAL))


def _problem(registered_model: RegisteredModel, version: Version, name: str, text: str) -> str:
    if (source := SOURCE.search(text)) is None:
        return "names no run that it is from: it was changed by hand, or written by an earlier version of D-Cube"
    run_id, digest = source.groups()
    with TemporaryDirectory() as folder:
        file = Path(folder, METRICS_FILE)
        if not download(registered_model.client, f"runs:/{run_id}/{METRICS_FILE}", file):
            return f"is from run {run_id}, which is gone"
        if sha256_of(file) != digest:
            return f"is not from the {METRICS_FILE} that run {run_id} holds"
        try:
            metrics = Metrics.load(file)
        except DcubeError as error:
            return f"cannot be compared: {error}"
    own = metrics.weights_sha256 == version.tags.get(tags.WEIGHTS) and name == f"{tags.EXTERNAL}{metrics.dataset}"
    measured = all(part in text for part in (f" {metrics.test['auroc']:.3f} ", lookalikes_in_words(metrics)))
    return "" if own and measured else f"is not what run {run_id} measured: it was changed by hand"
