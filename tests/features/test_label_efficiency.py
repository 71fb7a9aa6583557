"""Label-efficiency curves: the choice of probes, and equal draws for all feature sets."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from dcube.engine.progress import progress
from dcube.features import label_efficiency as curves
from dcube.features import probing
from dcube.features.label_efficiency import DRAWN_LABELS, MAIN, VALIDATION, against_controls, over_draws
from dcube.features.probe_plots import labels_figure
from dcube.features.probing import ProbeImages
from tests.support.probed_images import noise, perfect, probe_images


@pytest.fixture(autouse=True)
def few_strengths(monkeypatch) -> None:
    monkeypatch.setattr(curves, "STRENGTHS", (1.0, 100.0, 10_000.0))


def efficiency(images: ProbeImages, counts=(10, 90), draws: int = 2) -> tuple[pd.DataFrame, dict[str, int]]:
    half = 0.4 * perfect(images, 8)
    sources = {
        "diffusion": {"mean": half + noise(8, 1), "2x2": half + 0.5 * noise(16, 2)[:, :8]},
        "untrained": {"mean": noise(8, 3), "2x2": noise(16, 4)},
    }
    return read(sources, half + noise(8, 5), images, counts, draws)


def read(sources, sub_features, images, counts, draws):
    with progress("Fitting", 1, "draws") as advance:
        return curves.label_efficiency(sources, sub_features, images, counts, draws, advance)


def with_shuffled_labels(images: ProbeImages, *splits: str) -> ProbeImages:
    labels = images.labels.copy()
    for split in splits:
        labels[images.scored[split]] = np.random.default_rng(0).permutation(labels[images.scored[split]])
    return replace(images, labels=labels)


def choices(table: pd.DataFrame, chosen_on: str) -> pd.DataFrame:
    columns = ["features", "labels", "draw", "pooling", "C"]
    return table.loc[table["chosen_on"] == chosen_on, columns].reset_index(drop=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_probes_read_perfect_features_and_not_random_ones(classes):
    images = probe_images(classes)
    found, _ = read({"diffusion": {"mean": perfect(images)}}, None, images, [classes, 30, 90], 2)
    assert (found["auroc"] == 1).all() and (found["accuracy"] > 0.9).all()
    assert found.groupby("chosen_on")["draw"].value_counts().to_dict() == {
        (DRAWN_LABELS, 0): 4, (DRAWN_LABELS, 1): 4, (VALIDATION, 0): 6, (VALIDATION, 1): 4
    }  # fmt: skip
    chance, _ = read({"diffusion": {"mean": noise(6)}}, None, images, [30, 90], 8)
    means = chance[chance["split"] == "test"].groupby("chosen_on")["auroc"].mean()
    assert (abs(means - 0.5) < 0.08).all()


@pytest.mark.slow
def test_probe_choices_use_only_the_labels_of_their_protocol():
    images = probe_images()
    table, other_test, other_validation = (
        efficiency(its)[0]
        for its in (images, with_shuffled_labels(images, "test"), with_shuffled_labels(images, "validation"))
    )
    for chosen_on in (DRAWN_LABELS, VALIDATION):
        assert choices(table, chosen_on).equals(choices(other_test, chosen_on))
    assert not table["auroc"].equals(other_test["auroc"])
    assert choices(table, DRAWN_LABELS).equals(choices(other_validation, DRAWN_LABELS))
    assert not choices(table, VALIDATION).equals(choices(other_validation, VALIDATION))


@pytest.mark.parametrize("classes", [2, 3])
def test_cross_validation_equals_a_plain_loop_over_folds(classes, monkeypatch):
    monkeypatch.setattr(probing, "TOLERANCE", 1e-9)
    images = probe_images(classes)
    labels, features = images.labels[images.labelled[:24]], noise(60)[:24] / np.sqrt(60)
    losses = []
    for strength in curves.STRENGTHS:
        held_out = []
        folds = StratifiedKFold(5, shuffle=True, random_state=0).split(features, labels)
        for fitted, left_out in folds:
            model = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000).fit(features[fitted], labels[fitted])
            held_out += list(-model.predict_log_proba(features[left_out])[range(len(left_out)), labels[left_out]])
        losses.append(np.mean(held_out))
    assert curves.held_out_losses(features, labels) == pytest.approx(losses, rel=2e-3)


def test_few_labels_give_strongest_regularisation_and_mean_pooling():
    table, _ = efficiency(probe_images(), counts=[4, 90])
    of_few = choices(table, DRAWN_LABELS)
    assert set(of_few["C"]) == {min(curves.STRENGTHS)} and set(of_few["pooling"]) == {"mean"}


def test_all_feature_sets_are_probed_with_the_same_draws(monkeypatch):
    images, seen, plain = probe_images(), [], curves.probe

    def watched(features, its_images, chosen, strengths):
        seen.append(tuple(chosen))
        return plain(features, its_images, chosen, strengths)

    monkeypatch.setattr(curves, "probe", watched)
    table, dimensions = efficiency(images)
    sets = curves.sets_probed(2, 2, with_sub_features=True)
    assert len(seen) == sets * len(curves.draws_of([10, 90], 90, 2)) == sets * 3
    assert all(seen[start : start + 3] == seen[:3] for start in range(0, len(seen), 3))
    assert len(set(seen[:3])) == 3
    assert dimensions == {
        "diffusion": 8, "untrained": 16, "sub_features": 8,
        "diffusion+sub_features": 16, "untrained+sub_features": 24,
    }  # fmt: skip
    validation = table[table["chosen_on"] == VALIDATION]
    assert (validation.groupby(["features", "labels"])[["C", "pooling"]].nunique() == 1).all(axis=None)
    assert set(validation.loc[validation["features"] == "diffusion", "pooling"]) == {"2x2"}


def test_figure_shows_every_feature_set_under_both_protocols(tmp_path):
    table, _ = efficiency(probe_images())
    figure = labels_figure(table)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [f"probe chosen on {chosen_on}" for chosen_on in (DRAWN_LABELS, VALIDATION)]
    assert len(figure.legends[0].get_texts()) == table["features"].nunique()
    figure.savefig(tmp_path / "labels.png")


def test_summaries_equal_plain_loops_over_draws() -> None:
    """In the invented table, the main features are better than one control in every draw."""
    generator = np.random.default_rng(0)
    rows = [
        {"chosen_on": chosen_on, "features": name, "labels": labels, "split": split, "draw": draw,
         "auroc": base + generator.normal() / 100}
        for chosen_on in (DRAWN_LABELS, VALIDATION)
        for name, base in ((MAIN, 0.9), ("sub_features", 0.5), ("untrained", 0.9))
        for labels in (20, 50)
        for split in ("validation", "test")
        for draw in range(4)
    ]  # fmt: skip
    key = ("chosen_on", "features", "labels", "split")
    table = pd.DataFrame(rows)
    summary, gaps = over_draws(table), against_controls(table)
    assert len(summary) == 24 and len(gaps) == 16
    for line in summary.itertuples():
        own = [row["auroc"] for row in rows if tuple(row[name] for name in key) == line[1:5]]
        assert (line.draws, line.auroc, line.deviation) == pytest.approx((4, np.mean(own), np.std(own, ddof=1)))
    assert set(gaps["control"]) == {"sub_features", "untrained"}, "a control that was not measured is left out"
    for line in gaps.itertuples():
        of = {
            name: np.array([row["auroc"] for row in rows
                            if tuple(row[it] for it in key) == (line.chosen_on, name, line.labels, line.split)])
            for name in (MAIN, line.control)
        }  # fmt: skip
        gap = of[MAIN] - of[line.control]
        assert (line.difference, line.deviation) == pytest.approx((gap.mean(), gap.std(ddof=1)))
        assert line.ahead == (gap > 0).sum() and (line.control != "sub_features" or line.ahead == 4)
