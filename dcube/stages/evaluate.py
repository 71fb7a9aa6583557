"""Stage evaluate: evaluate one model once on the test split."""

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.headline import save_headline
from dcube.artifacts.layout import EVALUATION, MODEL_CARD, MODELS, PREPARED
from dcube.classifier.candidate import Candidate, load_candidate
from dcube.data.prepared import PreparedDataset
from dcube.engine.device import choose_device
from dcube.evaluation.evaluation_folder import write_evaluation
from dcube.evaluation.metrics import COMPARED
from dcube.evaluation.operating_point import decision_in_words
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.split_notice import split_notice
from dcube.evaluation.summary import interval_text
from dcube.stages.process.running import params
from dcube.tracking import tags
from dcube.tracking.lineage import lineage_tags
from dcube.tracking.run import tracked_run


def main(name: str) -> None:
    everything = params()
    dataset = PreparedDataset.load(PREPARED)
    stage = f"evaluate@{name}"
    groups = {"evaluation": everything.evaluation, "compute": everything.compute}
    with tracked_run(stage, groups, dataset) as tracked, atomic_folder(EVALUATION / name) as folder:
        candidate = load_candidate(MODELS / name, choose_device(everything.compute))
        validation, test = (_predict(candidate, dataset, split) for split in ("validation", "test"))
        # Without the pipeline's name, because equal models of two pipelines must have equal cards.
        origin = {tag: value for tag, value in lineage_tags(stage).items() if tag != tags.PIPELINE}
        metrics = write_evaluation(
            folder, name, candidate.config, dataset, validation, test, everything.evaluation, origin
        )
        # The name contains the model, so that `dvc exp show` has one short column per model.
        save_headline(folder, name, "auroc", metrics.test["auroc"])
        tracked.set_tags(
            {
                tags.MODEL: name,
                tags.KIND: candidate.kind,
                tags.WEIGHTS: metrics.weights_sha256,
                tags.TEST: metrics.test_fingerprint,
                tags.NOTE: (folder / MODEL_CARD).read_text(encoding="utf-8"),
            }
        )
        tracked.log_metrics([{"step": 0, **{f"{tags.TEST_METRIC}{key}": value for key, value in metrics.test.items()}}])
        tracked.log_artifacts(folder)
    shown = (f"{it.title} {metrics.test[it.name]:.3f} ({interval_text(metrics, it.name, 2)})" for it in COMPARED)
    print(f"{name}, on the test split: {', '.join(shown)}")
    print(decision_in_words(metrics.operating_point, metrics.confidence))
    if notice := split_notice(metrics):
        print(notice)


def _predict(candidate: Candidate, dataset: PreparedDataset, split: str) -> Predictions:
    rows = dataset.indices(split)
    images, small_images = (
        dataset.images(size)[rows] for size in (candidate.image_size, candidate.diffusion_image_size)
    )
    return Predictions.of(dataset, rows, candidate.predict(images, small_images))
