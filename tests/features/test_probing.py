"""Linear probes of frozen features: what they find, what they must not find, and what must not sway them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from dcube.artifacts.layout import PARAMS, PROBE
from dcube.config.schema import Params
from dcube.data.prepared import UNLABELLED
from dcube.engine.progress import progress
from dcube.features import probing
from dcube.features.pooling import POOLINGS, pooled_maps, side_by_side
from dcube.features.probe_plots import labels_figure, map_figure
from dcube.features.probing import MAIN, ProbeImages, against_controls, over_draws
from dcube.stages import probe

SIZES = {"train": 90, "unlabelled": 15, "validation": 45, "test": 45}


def probe_images(classes: int = 3) -> ProbeImages:
    labels = np.arange(sum(SIZES.values())) % classes
    ends = np.cumsum(list(SIZES.values()))
    train, unlabelled, validation, test = np.split(np.arange(len(labels)), ends[:-1])
    labels[unlabelled] = UNLABELLED
    together = np.concatenate([train, unlabelled])
    return ProbeImages(np.arange(len(labels)), labels, together, train, {"validation": validation, "test": test})


def noise(width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(sum(SIZES.values()), width)).astype(np.float32)


def perfect(images: ProbeImages, width: int = 6) -> np.ndarray:
    return 0.01 * noise(width) + np.eye(width, dtype=np.float32)[images.labels]


def curve(features: np.ndarray, images: ProbeImages, counts: list[int], draws: int = 2) -> pd.DataFrame:
    ready = probing.standardised_features(features, images.train)
    with progress("Fitting", 1, "draws") as advance:
        return probing.label_curve(ready, images, counts, draws, advance)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", probing.STRENGTHS)
def test_the_span_of_the_fitted_images_gives_the_decisions_of_all_features(classes, strength, monkeypatch):
    monkeypatch.setattr(probing, "TOLERANCE", 1e-9)
    images, features = probe_images(classes), noise(200).astype(np.float64) / np.sqrt(200)
    chosen = images.labelled[:20]
    fitted, others = probing.projected_to_span(features[chosen], features[images.scored["test"]])
    assert fitted.shape == (20, 20)
    ours = probing.fit_probe(fitted, images.labels[chosen], strength).decision_function(others)
    plain = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000).fit(features[chosen], images.labels[chosen])
    expected = plain.decision_function(features[images.scored["test"]])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_those_of_scikit_learn(classes):
    images, features = probe_images(classes), np.round(noise(2), 1)  # rounded: with ties
    model = probing.fit_probe(features[images.labelled], images.labels[images.labelled], 1.0)
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


def test_repeated_images_have_a_span_too():
    features = np.repeat(noise(50)[:3].astype(np.float64), 2, axis=0)
    fitted, others = probing.projected_to_span(features, features)
    np.testing.assert_allclose(fitted @ fitted.T, features @ features.T, atol=1e-9)
    np.testing.assert_allclose(others, fitted)


def test_standardised_sets_weigh_the_same_and_look_at_training_images_alone():
    images, features = probe_images(), np.hstack([3 + 5 * noise(7), np.ones((sum(SIZES.values()), 1))])
    ready = probing.standardised_features(features, images.train)
    train = ready[images.train].astype(np.float64)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(train.var(axis=0), [*[1 / 8] * 7, 0], rtol=1e-4, atol=1e-12)
    changed = features.copy()
    changed[images.scored["test"]] += 9
    assert np.array_equal(probing.standardised_features(changed, images.train)[images.train], ready[images.train])


@pytest.mark.parametrize("classes", [2, 3])
def test_perfect_features_are_read_and_random_ones_are_not(classes):
    images = probe_images(classes)
    found = curve(perfect(images), images, [classes, 30, 90])
    assert (found["auroc"] == 1).all() and (found["accuracy"] > 0.9).all()
    assert found["draw"].value_counts().to_dict() == {0: 6, 1: 4}
    chance = curve(noise(6), images, [30, 90], draws=8)
    assert abs(chance["auroc"][chance["split"] == "test"].mean() - 0.5) < 0.08


def test_the_map_finds_the_block_that_carries_the_classes():
    images = probe_images()
    blocks = [{"mean": noise(6, seed=block), "2x2": noise(24, seed=9 + block)} for block in range(3)]
    blocks[1]["mean"] = perfect(images)
    table = probing.probe_blocks(blocks, images)
    validation = table[(table["split"] == "validation") & (table["pooling"] == "mean")].set_index("block")["auroc"]
    assert validation[1] == 1 and validation.drop(1).max() < 0.8
    assert probing.map_poolings(table.assign(source="trained")) == {"trained": "mean"}


def efficiency(images: ProbeImages) -> tuple[pd.DataFrame, dict[str, str], dict[str, int]]:
    half = 0.4 * perfect(images, 8)
    sources = {
        "diffusion": {"mean": half + noise(8, 1), "2x2": half + 0.5 * noise(8, 2)},
        "untrained": {"mean": noise(8, 3), "2x2": noise(8, 4)},
    }
    with progress("Fitting", 1, "draws") as advance:
        return probing.label_efficiency(sources, half + noise(8, 5), images, [10, 90], 3, advance)


def test_nothing_is_chosen_on_test_images():
    images = probe_images()
    shuffled = images.labels.copy()
    shuffled[images.scored["test"]] = np.random.default_rng(0).permutation(shuffled[images.scored["test"]])
    (table, poolings, _), (again, poolings_again, _) = map(efficiency, (images, replace(images, labels=shuffled)))
    assert poolings == poolings_again
    pd.testing.assert_frame_equal(
        table[table["split"] == "validation"], again[again["split"] == "validation"], check_exact=True
    )
    assert table["C"].equals(again["C"])
    test = table["split"] == "test"
    assert not table["auroc"][test].equals(again["auroc"][test])


def test_all_sets_of_features_are_read_with_the_same_draws(monkeypatch):
    images, seen, plain = probe_images(), [], probing.probe

    def watched(features, its_images, chosen, strengths):
        seen.append(tuple(chosen))
        return plain(features, its_images, chosen, strengths)

    monkeypatch.setattr(probing, "probe", watched)
    table, poolings, dimensions = efficiency(images)
    curves = probing.curves_fitted(2, 2, with_sub_features=True)
    assert len(seen) == curves * 4
    assert all(seen[start : start + 4] == seen[:4] for start in range(0, len(seen), 4))
    assert len(set(seen[:4])) == 4
    assert poolings["diffusion"] == "2x2"
    assert dimensions == {
        "diffusion": 8, "untrained": 8, "sub_features": 8,
        "diffusion+sub_features": 16, "untrained+sub_features": 16,
    }  # fmt: skip
    assert (table.groupby(["features", "labels"])["C"].nunique() == 1).all()


def test_counts_that_cannot_be_drawn_are_named():
    images = probe_images()
    assert images.counts([500, 2, 20, 20, 90]) == ([20, 90], [2, 500])


def test_the_map_looks_at_no_more_images_than_it_needs(monkeypatch):
    images = probe_images()
    monkeypatch.setattr(probing, "MAP_IMAGES", 30)
    small = images.for_map()
    assert len(small.labelled) == 30 and len(small.rows) == 120
    assert set(small.rows[small.labelled]) < set(images.rows[images.labelled])
    for split, places in images.scored.items():
        assert np.array_equal(small.rows[small.scored[split]], images.rows[places])
        assert np.array_equal(small.labels[small.scored[split]], images.labels[places])


@pytest.mark.parametrize("grid", [1, 3, 8])
def test_pooling_is_the_same_however_images_are_batched(grid):
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


def test_figures_show_every_set_and_block(tmp_path):
    table, _, _ = efficiency(probe_images())
    figure = labels_figure(table)
    assert [axis.get_title() for axis in figure.axes] == ["validation", "test"]
    assert len(figure.legends[0].get_texts()) == table["features"].nunique()
    rows = [{"block": b, "timestep": t, "auroc": 0.5 + b / 10} for b in range(3) for t in (1, 9)]
    frame, statistic = pd.DataFrame(rows), [0.1, 0.2, 0.3]
    shown = map_figure(frame, statistic, 1, probing.rank_agreement(statistic, [0.5, 0.6, 0.7]))
    assert "t = 1: +1.00" in shown.get_suptitle()
    constant = map_figure(frame, [0.1] * 3, 1, probing.rank_agreement([0.1] * 3, [0.5, 0.6, 0.7]))
    assert "undefined" in constant.get_suptitle()
    figure.savefig(tmp_path / "labels.png")
    shown.savefig(tmp_path / "map.png")


def test_the_summaries_are_those_of_the_draws() -> None:
    """Against plain loops over an invented table in which the main features are ahead of one control in every draw."""
    generator = np.random.default_rng(0)
    rows = [
        {"features": name, "labels": labels, "split": split, "draw": draw, "auroc": base + generator.normal() / 100}
        for name, base in ((MAIN, 0.9), ("sub_features", 0.5), ("untrained", 0.9))
        for labels in (20, 50)
        for split in ("validation", "test")
        for draw in range(4)
    ]
    table = pd.DataFrame(rows)
    summary, gaps = over_draws(table), against_controls(table)
    for line in summary.itertuples():
        own = [row["auroc"] for row in rows if (row["features"], row["labels"], row["split"]) == line[1:4]]
        assert (line.draws, line.auroc, line.deviation) == pytest.approx((4, np.mean(own), np.std(own, ddof=1)))
    assert set(gaps["control"]) == {"sub_features", "untrained"}, "a control that was not measured is left out"
    for line in gaps.itertuples():
        of = {
            name: np.array([r["auroc"] for r in rows if (r["features"], r["labels"], r["split"]) == (name, *line[2:4])])
            for name in (MAIN, line.control)
        }
        gap = of[MAIN] - of[line.control]
        assert (line.difference, line.deviation) == pytest.approx((gap.mean(), gap.std(ddof=1)))
        assert line.ahead == (gap > 0).sum() and (line.control != "sub_features" or line.ahead == 4)


def test_without_numbers_of_labels_nothing_is_read_or_fitted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / PARAMS).write_text(Params().to_yaml())
    probe.main()
    assert "probe.labels is empty" in capsys.readouterr().out
    assert [file.name for file in PROBE.iterdir()] == ["none.txt"]
