"""The tag of an external test on a version: its metrics in one line, and the run and the file that they are from."""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from dcube.artifacts.checksums import sha256_of
from dcube.artifacts.layout import METRICS_FILE
from dcube.artifacts.schemas.metrics import Metrics
from dcube.errors import DcubeError
from dcube.evaluation.metrics import metric_of
from dcube.evaluation.summary import interval_text, tested_on
from dcube.registry.version import Version
from dcube.registry.versions import Registry
from dcube.tracking import tags
from dcube.tracking.downloads import download

SOURCE = re.compile(r"run ([0-9a-f]{32}), sha256 of its metrics ([0-9a-f]{64})")


def external_tag(metrics: Metrics, run_id: str, digest: str) -> str:
    """Args:
    digest: sha256 of the run's file of metrics.
    """
    auroc = metric_of("auroc")
    value = f"{auroc.title} {metrics.test[auroc.name]:.3f} ({interval_text(metrics, auroc.name)})"
    return f"{value}, {tested_on(metrics)}; run {run_id}, sha256 of its metrics {digest}"


def forged_external_tests(registry: Registry, version: Version) -> Iterator[str]:
    """A sentence for every such tag that its run does not confirm."""
    for name, text in sorted(version.entry.tags.items()):
        if name.startswith(tags.EXTERNAL) and not _is_confirmed(registry, version, name, text):
            yield f"the tag {name!r} is not what an external test of this version recorded: it was changed by hand"


def _is_confirmed(registry: Registry, version: Version, name: str, text: str) -> bool:
    if (source := SOURCE.search(text)) is None:
        return False
    run_id, digest = source.groups()
    with TemporaryDirectory() as folder:
        file = Path(folder, METRICS_FILE)
        if not download(registry.client, f"runs:/{run_id}/{METRICS_FILE}", file) or sha256_of(file) != digest:
            return False
        try:
            metrics = Metrics.load(file)
        except DcubeError:
            return False
    own = metrics.weights_sha256 == version.tags.get(tags.WEIGHTS) and name == f"{tags.EXTERNAL}{metrics.dataset}"
    return own and text == external_tag(metrics, run_id, digest)
