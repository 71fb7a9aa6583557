"""Linear probes of frozen features, and the probe map of blocks and timesteps."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from dcube.artifacts.layout import PARAMS, PROBE
from dcube.config.schema import Params
from dcube.engine.progress import progress
from dcube.features import probing
from dcube.features.label_efficiency import STRENGTHS
from dcube.features.pooling import POOLINGS, pooled_maps, side_by_side
from dcube.features.probe_plots import map_figure
from dcube.stages import probe
from tests.support.probed_images import SIZES, noise, perfect, probe_images


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_projection_to_the_span_of_fitted_images_keeps_decisions(classes, strength, monkeypatch):
    monkeypatch.setattr(probing, "TOLERANCE", 1e-9)
    images, features = probe_images(classes), noise(200).astype(np.float64) / np.sqrt(200)
    chosen = images.labelled[:20]
    fitted, others = probing.projected_to_span(features[chosen], features[images.scored["test"]])
    assert fitted.shape == (20, 20)
    ours = probing.logistic_regression(strength).fit(fitted, images.labels[chosen]).decision_function(others)
    plain = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000).fit(features[chosen], images.labels[chosen])
    expected = plain.decision_function(features[images.scored["test"]])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_probe_scores_equal_scikit_learn(classes):
    images, features = probe_images(classes), np.round(noise(2), 1)  # rounded, so that there are ties
    model = probing.logistic_regression(1.0).fit(features[images.labelled], images.labels[images.labelled])
    test = images.scored["test"]
    labels, probabilities = images.labels[test], model.predict_proba(features[test])
    ranked = probabilities[:, 1] if classes == 2 else probabilities
    assert probing.scores(labels, model, features[test]) == pytest.approx(
        {
            "auroc": roc_auc_score(labels, ranked, multi_class="ovr"),
            "accuracy": accuracy_score(labels, model.predict(features[test])),
            "macro_f1": f1_score(labels, model.predict(features[test]), average="macro"),
        }
    )


def test_projection_works_with_repeated_images():
    features = np.repeat(noise(50)[:3].astype(np.float64), 2, axis=0)
    fitted, others = probing.projected_to_span(features, features)
    np.testing.assert_allclose(fitted @ fitted.T, features @ features.T, atol=1e-9)
    np.testing.assert_allclose(others, fitted)


def test_standardisation_weighs_equally_and_uses_only_training_images():
    images, features = probe_images(), np.hstack([3 + 5 * noise(7), np.ones((sum(SIZES.values()), 1))])
    ready = probing.standardised_features(features, images.train)
    train = ready[images.train].astype(np.float64)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(train.var(axis=0), [*[1 / 8] * 7, 0], rtol=1e-4, atol=1e-12)
    changed = features.copy()
    changed[images.scored["test"]] += 9
    assert np.array_equal(probing.standardised_features(changed, images.train)[images.train], ready[images.train])


def test_probe_map_finds_the_informative_block():
    images = probe_images()
    blocks = [{"mean": noise(6, seed=block), "2x2": noise(24, seed=9 + block)} for block in range(3)]
    blocks[1]["mean"] = perfect(images)
    table = probing.probe_blocks(blocks, images)
    validation = table[(table["split"] == "validation") & (table["pooling"] == "mean")].set_index("block")["auroc"]
    assert validation[1] == 1 and validation.drop(1).max() < 0.8
    assert probing.map_poolings(table.assign(source="trained")) == {"trained": "mean"}


def test_label_counts_that_cannot_be_drawn_are_returned_separately():
    images = probe_images()
    assert images.counts([500, 2, 20, 20, 90]) == ([20, 90], [2, 500])


def test_probe_map_uses_a_subset_of_training_images(monkeypatch):
    images = probe_images()
    monkeypatch.setattr(probing, "MAP_IMAGES", 30)
    small = images.for_map()
    assert len(small.labelled) == 30 and len(small.rows) == 120
    assert set(small.rows[small.labelled]) < set(images.rows[images.labelled])
    for split, places in images.scored.items():
        assert np.array_equal(small.rows[small.scored[split]], images.rows[places])
        assert np.array_equal(small.labels[small.scored[split]], images.labels[places])


@pytest.mark.parametrize("grid", [1, 3, 8])
def test_pooling_does_not_depend_on_the_batch_size(grid):
    maps = torch.randn(7, 4, grid, grid, generator=torch.Generator().manual_seed(0))

    def vectors(batch_size: int) -> dict[str, np.ndarray]:
        with progress("Pooling", 7, "images") as advance:
            return side_by_side(pooled_maps(lambda rows: [maps[rows], -maps[rows]], np.arange(7), batch_size, advance))

    whole = vectors(7)
    assert {name: values.shape for name, values in whole.items()} == {
        "mean": (7, 8), "mean+max": (7, 16), "2x2": (7, 32)
    }  # fmt: skip
    for name in POOLINGS:
        np.testing.assert_allclose(vectors(2)[name], whole[name], rtol=1e-6)
    np.testing.assert_allclose(whole["mean"][:, :4], maps.mean(dim=(2, 3)), rtol=1e-5)


def test_figure_of_the_probe_map_shows_the_rank_agreement(tmp_path):
    rows = [{"block": b, "timestep": t, "auroc": 0.5 + b / 10} for b in range(3) for t in (1, 9)]
    frame, statistic = pd.DataFrame(rows), [0.1, 0.2, 0.3]
    shown = map_figure(frame, statistic, 1, probing.rank_agreement(statistic, [0.5, 0.6, 0.7]))
    assert "t = 1: +1.00" in shown.get_suptitle()
    constant = map_figure(frame, [0.1] * 3, 1, probing.rank_agreement([0.1] * 3, [0.5, 0.6, 0.7]))
    assert "undefined" in constant.get_suptitle()
    shown.savefig(tmp_path / "map.png")


def test_probe_is_skipped_without_label_counts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / PARAMS).write_text(Params().to_yaml())
    probe.main()
    assert "probe.labels is empty" in capsys.readouterr().out
    assert [file.name for file in PROBE.iterdir()] == ["none.txt"]
