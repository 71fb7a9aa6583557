"""What has to be said beside the metrics of an external test, in the terminal and on the page of a flow run."""

from collections.abc import Iterator

from dcube.artifacts.schemas.metrics import Metrics
from dcube.evaluation.prediction_sets import rates_in_words
from dcube.evaluation.subgroups import in_short
from dcube.evaluation.summary import lookalikes_in_words


def external_notes(own: Metrics, external: Metrics) -> Iterator[str]:
    """Yield sentences on prediction sets, subgroups, lookalikes and unknown patients.

    Args:
        own: metrics on the model's own test split.
        external: metrics on the images of another source.
    """
    sets = external.prediction_sets
    if sets.calibrated_on:
        yield (
            f"Prediction sets for a coverage of {sets.coverage:.0%} give on these images, "
            f"{rates_in_words(sets, own.confidence, external.resampled)}."
        )
    yield from in_short(external)
    if warning := lookalikes_in_words(external):
        yield f"{warning}: are these really images of another source?"
    if external.test_patients is None:
        yield "Not every image names its patient: the intervals are too narrow where several images show one patient."
