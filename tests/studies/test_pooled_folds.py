"""All folds of a cross-validation as one test: pooled predictions, data set and configuration."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcube.artifacts.layout import PREPARED
from dcube.artifacts.schemas.candidate import Calibration
from dcube.artifacts.schemas.dataset import DatasetInfo, NearDuplicates
from dcube.artifacts.schemas.drift import DriftReference
from dcube.artifacts.schemas.seen import SeenImages
from dcube.data.prepared import PreparedDataset
from dcube.errors import DcubeError
from dcube.evaluation.model_card import limits_of, model_card
from dcube.evaluation.predictions import PREFIX, Predictions, on_common_images
from dcube.evaluation.split_notice import split_in_words
from dcube.evaluation.summary import evaluate_candidate
from dcube.evaluation.summary import tested_on as images_tested_on
from dcube.inference.drift import MOST_IMAGES
from dcube.studies.pooling import pooled_config, pooled_dataset, pooled_predictions, pooled_reference, pooled_seen
from tests.support.random_candidate import CLASSES, SPEC, candidate_config

FOLDS, IMAGES = 3, 36  # and two images without a label


def fold(number: int, dropped: int = 0) -> PreparedDataset:
    """A fold whose rows are numbered after `dropped` training images were left out."""
    rows = []
    for image in range(IMAGES + 2):
        label = CLASSES[image % 3] if image < IMAGES else ""
        of_fold = (image // 6) % FOLDS
        split = {number: "test", (number + 1) % FOLDS: "validation"}.get(of_fold, "train") if label else "train"
        site = f"site {image % 2}"
        rows.append((f"{image}.png", label, f"patient {image // 6}", split, f"{99 - image:064d}", site))
    columns = ["file", "label", "patient", "split", "sha256", "subgroup_site"]
    manifest = pd.DataFrame(rows, columns=columns)
    manifest = manifest.drop(index=manifest.index[manifest["split"] == "train"][:dropped]).reset_index(drop=True)
    manifest["id"] = manifest.index.astype(str)
    copies = NearDuplicates(images=2, groups=1, in_several_splits=[[f"{number}.png", "x"]], with_several_labels=[])
    info = DatasetInfo(
        name="discs", is_phantom=True, classes=CLASSES, input=SPEC, counts={}, grouping="patients", subgroups=["site"],
        split_origin="generated", folds=FOLDS, fold=number, near_duplicates=copies, fingerprint=f"{number}" * 64,
        warnings=["of all", f"of fold {number}"],
    )  # fmt: skip
    return PreparedDataset(PREPARED, manifest, info)


def predicted(dataset: PreparedDataset, split: str, seed: int = 0) -> Predictions:
    rows = dataset.indices(split)
    generator = np.random.default_rng((seed, dataset.info.fold or 0))
    return Predictions.of(dataset, rows, generator.dirichlet(np.ones(3), size=len(rows)))


@pytest.fixture
def folds() -> list[PreparedDataset]:
    return [fold(number, dropped=number) for number in range(FOLDS)]


def test_each_image_is_once_in_the_pooled_tables_with_its_own_models_prediction(folds):
    tables = [predicted(one, "test") for one in folds]
    test, validation = pooled_predictions(tables), pooled_predictions([predicted(one, "validation") for one in folds])
    assert len(test.table) == IMAGES and not test.table["id"].duplicated().any()
    assert test.fingerprint == validation.fingerprint, "both are about the same images"
    for one in tables:
        of_fold = test.table.set_index("file").loc[one.table["file"]]
        assert np.array_equal(of_fold[[PREFIX + name for name in CLASSES]].to_numpy(), one.probabilities)
        assert of_fold["id"].tolist() != one.table["id"].tolist(), "rows are numbered anew"

    dataset = pooled_dataset(folds)
    rows = dataset.indices("test")
    assert dataset.manifest.iloc[rows]["file"].tolist() == test.table["file"].tolist()
    assert dataset.manifest.iloc[rows]["id"].tolist() == test.table["id"].tolist()
    sites = dataset.subgroups(rows)["site"]
    assert sites.tolist() == [f"site {int(name.removesuffix('.png')) % 2}" for name in test.table["file"]]
    info = dataset.info
    assert info.counts == {"test": dict.fromkeys(CLASSES, IMAGES // 3)}
    assert info.warnings == ["of all", "of fold 0", "of fold 1", "of fold 2"]
    assert len(info.near_duplicates.in_several_splits) == FOLDS
    assert info.fingerprint not in {one.fingerprint for one in folds}
    assert info.fingerprint == pooled_dataset([fold(number) for number in range(FOLDS)]).fingerprint


def test_pages_say_that_the_ensemble_itself_is_untested(folds, tiny_params):
    dataset, test = pooled_dataset(folds), pooled_predictions([predicted(one, "test") for one in folds])
    blocks = [[1], [2], [1, 2]]
    members = [candidate_config(tiny_params, kind="dcube", blocks=own) for own in blocks]
    config = pooled_config(members, dataset.fingerprint).model_copy(update={"members": members})
    metrics = evaluate_candidate("dcube_folds", config, dataset.info, test, tiny_params.evaluation)
    assert (metrics.folds, metrics.kind) == (FOLDS, "dcube")
    assert images_tested_on(metrics) == "36 images of 6 patients, each by the one of 3 models that never saw it"
    assert any("their mean, which predicts new images, was not tested itself" in one for one in limits_of(metrics))
    assert "each of 3 folds is the test of the one model that was trained without it" in split_in_words(dataset.info)
    card = model_card(metrics, config, dataset, {})
    assert "| test | 12 (6) | 12 (6) | 12 (6) | 0 | 6 |" in card and "| train | 0 | 0 | 0 | 2 (1) | 1 |" in card
    assert "| selected blocks of model 2 | `[1, 2]` |" in card and "never saw it" in card
    one = evaluate_candidate("dcube", members[0], fold(0).info, test, tiny_params.evaluation)
    assert one.folds is None and "never saw" not in images_tested_on(one)
    assert len(limits_of(one)) == len(limits_of(metrics)) - 2


def test_configuration_has_the_means_and_leaves_blocks_and_calibration_to_the_members(tiny_params):
    members = [
        candidate_config(
            tiny_params, kind="dcube", blocks=[number], prior=prior, validation={"auroc": 0.8 + number / 10},
            calibration=Calibration(temperature=2.0), weights_sha256="w",
        )
        for number, prior in enumerate(([0.2, 0.3, 0.5], [0.4, 0.3, 0.3]))
    ]  # fmt: skip
    config = pooled_config(members, "f")
    assert config.prior == pytest.approx([0.3, 0.3, 0.4]) and config.validation == pytest.approx({"auroc": 0.85})
    assert (config.blocks, config.calibration.temperature, config.weights_sha256) == (None, 1.0, "")
    assert config.networks == [config] and config.data_fingerprint == "f"


def test_references_and_seen_images_are_joined():
    def reference(images: int, value: float, share: float) -> DriftReference:
        predicted = {"ill": share, "well": 1 - share}
        return DriftReference(images=images, values={"entropy": [value] * images}, predicted=predicted)

    few = pooled_reference([reference(10, 0.1, 0.2), reference(30, 0.9, 0.6)])
    assert few.images == 40 and few.values["entropy"] == [0.1] * 10 + [0.9] * 30
    assert few.predicted == pytest.approx({"ill": 0.5, "well": 0.5})
    many = pooled_reference([reference(MOST_IMAGES, 0.1, 0.2), reference(MOST_IMAGES, 0.9, 0.6)])
    assert many.images == len(many.values["entropy"]) == MOST_IMAGES and set(many.values["entropy"]) == {0.1, 0.9}
    hashes = [[f"{number:064d}" for number in some] for some in ((1, 2), (2, 3))]
    assert pooled_seen([SeenImages.of(some, some) for some in hashes]) == SeenImages.of(*[{*hashes[0], *hashes[1]}] * 2)


def test_folds_that_do_not_fit_together_are_refused(folds):
    with pytest.raises(DcubeError, match="not the 2 folds of one cross-validation"):
        pooled_dataset(folds[:2])
    with pytest.raises(DcubeError, match="not the 3 folds"):
        pooled_dataset([folds[0], folds[0], folds[2]])
    with pytest.raises(DcubeError, match="12 images are in two folds"):
        pooled_predictions([predicted(folds[0], "test"), predicted(folds[0], "test")])


def test_ensemble_and_single_split_are_compared_on_the_images_of_both(folds):
    pooled, single = pooled_predictions([predicted(one, "test") for one in folds]), predicted(folds[1], "test", seed=1)
    first, second = on_common_images(pooled, single)
    assert first.fingerprint == second.fingerprint and len(first.table) == 12
    assert set(first.table["file"]) == set(single.table["file"])
    found = second.table.set_index("file").loc[single.table["file"]][[PREFIX + name for name in CLASSES]]
    assert np.array_equal(found.to_numpy(), single.probabilities)
    other = Predictions(single.table.assign(sha256="other"))
    assert [len(one.table) for one in on_common_images(pooled, other)] == [0, 0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["table1", "--register", "D-Cube"], "--register: table1 is no cross-validation"),
        (["folds", "--register", "dcube"], "--register dcube: name one row that is computed here: D-Cube, untrained"),
        (["folds", "--row", "baseline", "--register", "D-Cube"], "that is computed here: baseline\n"),
    ],
)
def test_unfit_rows_are_refused_before_anything_is_computed(repository: Path, run_dcube, words, told):
    code, shown = run_dcube("study", *words)
    assert code == 2 and told in shown and shown.count("\n") == 1, shown
