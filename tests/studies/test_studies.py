"""Studies: their trials, statistics and tables."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from dcube.classifier.method import method_names
from dcube.cli.terminal import print_rich
from dcube.config.loading import load_preset, preset_names, with_overrides
from dcube.config.schema import Evaluation, Params
from dcube.errors import DcubeError
from dcube.evaluation.bootstrap import resample_weights
from dcube.evaluation.comparison import compare, holm
from dcube.evaluation.metrics import title_of
from dcube.studies.building import with_rows, with_shared_settings
from dcube.studies.output import write
from dcube.studies.plots import plot
from dcube.studies.rendering import latex, markdown, repeats_frame, terminal, value_in_words
from dcube.studies.results import Result
from dcube.studies.runner import StudyResults
from dcube.studies.statistics import (
    RepeatStatistics,
    differences,
    fold_intervals,
    repeat_statistics,
    significantly_best,
)
from dcube.studies.study import Study, load_study, study_from, study_names
from dcube.studies.table import make_table
from dcube.studies.trials import Variant, experiment_name, make_trial, settings_to_choose_from, variants
from tests.support.study_results import METRICS, distance, predicted, table_of

EVALUATION = Evaluation(bootstrap_samples=400)
PAPERS = {"table1", "table2", "table3", "table4", "table5", "table6", "table7", "table8", "figure2"}
ROWS = {"rows": [{"name": "one"}, {"name": "two", "settings": {"classifier.seed": 7}}]}


def repeats_of(folder: Path, skill: float, seeds: range) -> list[Result]:
    return [predicted(folder / f"{skill}-{seed}", skill, seed) for seed in seeds]


class TestIncludedStudies:
    def test_every_table_of_the_paper_has_a_study(self):
        assert set(study_names()) >= PAPERS | {"labels", "labels_tuned", "fractions", "imbalance"}

    @pytest.mark.slow
    @pytest.mark.parametrize("data", preset_names())
    @pytest.mark.parametrize("name", study_names())
    def test_every_trial_has_valid_parameters_and_a_unique_name(self, name, data):
        study, base = load_study(name), load_preset(data)
        trials = [
            make_trial(study, base, variant, repeat, chosen)
            for variant in variants(study)
            for chosen in settings_to_choose_from(study, data, variant.row)
            for repeat in {0, study.repeats - 1}  # the others differ from these in their seeds alone
        ]
        names = [experiment_name(name, data, made) for made in trials]
        assert len({made.key for made in trials}) == len(set(names)) == len(trials), "no trial is computed twice"
        assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*[a-z0-9]", one) and len(one) < 100 for one in names)

    @pytest.mark.parametrize("name", study_names())
    def test_methods_of_studies_are_registered(self, name):
        named = [row.settings.get("baseline.method") for row in load_study(name).rows]
        assert set(named) - {None} <= set(method_names())

    def test_table_two_has_every_method_of_the_paper(self):
        named = [row.name for row in load_study("table2").rows if row.paper]
        assert named == [
            "ResNet-101", "ResNeXt-101", "ResNeSt", "ShuffleNet V2", "T2T-ViT", "ViT-B/16", "CvT", "MiT-b0", "PiT-B",
            "PVT v2-b0", "PVT-Tiny", "CPT", "DiffMIC", "D-Cube",
        ]  # fmt: skip

    def test_ablations_share_one_diffusion_model(self):
        """All rows of Table IV except the first differ only in parameters of stage 2."""
        study, base = load_study("table4"), load_preset("covid_ct")
        made = [
            make_trial(study, base, variant, repeat).params
            for variant in variants(study)
            for repeat in range(study.repeats)
        ]
        shared = [
            params.model_dump_json(include={"data", "diffusion", "fid", "features", "synthesis"}) for params in made
        ]
        assert len(set(shared)) == 2 and shared.count(shared[0]) == study.repeats

    @pytest.mark.parametrize("name", ["table2", "table4", "table6", "table7", "table8", "table3"])
    def test_published_values_are_percentages_on_known_data(self, name):
        for row in load_study(name).rows:
            for data, values in row.paper.items():
                assert data in preset_names() and all(20 < value < 100 for value in values)


class TestErrors:
    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"rows": []}, "rows"),
            ({**ROWS, "reference": "three"}, "reference 'three' is not a row: one, two"),
            ({"rows": [{"name": "a"}, {"name": "a"}]}, "two rows have one name"),
            ({**ROWS, "vary": ["classifier.sed"]}, "unknown key classifier.sed (did you mean seed?)"),
            ({**ROWS, "sweep": {"parameter": "labels.count", "title": "x", "values": [2, 0]}}, "labels.count"),
            ({"rows": [{"name": "a", "choose": {"baseline.learning_rate": [5.0]}}]}, "learning_rate"),
            ({**ROWS, "report": "files"}, "target and files belong to report: files"),
            ({**ROWS, "rowz": 1}, "rowz"),
            ({"rows": [{"name": "a", "paper": {"breast": [64.5, 64.3]}}]}, "paper"),
        ],
    )  # fmt: skip
    def test_wrong_study_is_refused_with_one_line(self, values, told):
        with pytest.raises(DcubeError) as raised:
            study_from({"title": "T", **values}, "mine.yaml")
        assert told in str(raised.value) and "mine.yaml" in str(raised.value) and "\n" not in str(raised.value)

    def test_wrong_setting_is_refused_with_its_row(self):
        study = study_from({"title": "T", "rows": [{"name": "odd", "settings": {"classifier.epochz": 2}}]}, "s")
        with pytest.raises(DcubeError, match=r"row odd: unknown key classifier.epochz \(did you mean epochs\?\)"):
            make_trial(study, Params(), variants(study)[0], 0)

    def test_unknown_studies_and_invalid_files_are_refused(self, tmp_path):
        with pytest.raises(DcubeError, match="no study 'tabel2': choose from "):
            load_study("tabel2")
        (tmp_path / "broken.yaml").write_text("rows: [")
        with pytest.raises(DcubeError, match="is not valid YAML"):
            load_study(str(tmp_path / "broken.yaml"))

    def test_unknown_rows_are_refused(self):
        with pytest.raises(DcubeError, match="--row D-Cub: the study has ResNet-101"):
            with_rows(load_study("table2"), ["D-Cub"], None)

    def test_results_on_different_test_images_are_refused(self, tmp_path):
        others = [predicted(tmp_path / "other", 1.0, 1, shift="x")]
        with pytest.raises(DcubeError, match="not tested on the same images"):
            differences(repeats_of(tmp_path, 1.0, range(1)), others, METRICS, EVALUATION)


class TestTrials:
    def test_later_settings_override_earlier_ones_and_repeats_set_seeds(self):
        values = {
            "title": "T", "settings": {"classifier.epochs": 1, "classifier.dropout": 0.1},
            "data": {"phantom": {"settings": {"classifier.epochs": 2, "baseline.epochs": 2}}},
            "sweep": {"parameter": "labels.count", "title": "labels", "values": [20, 50]},
            "rows": [{"name": "a", "settings": {"classifier.epochs": 3}}],
        }  # fmt: skip
        study, base = study_from(values, "s"), load_preset("phantom")
        first, second = variants(study)
        one, two = (make_trial(study, base, variant, 4) for variant in (first, second))
        assert (one.params.classifier.epochs, one.params.baseline.epochs) == (3, 2)
        assert one.params.classifier.dropout == two.params.classifier.dropout == 0.1
        assert (one.params.labels.count, two.params.labels.count) == (20, 50)
        assert one.params.classifier.seed == one.params.baseline.seed == 4
        elsewhere = make_trial(study, load_preset("covid_ct"), first, 0)
        assert elsewhere.params.baseline.epochs == load_preset("covid_ct").baseline.epochs

    def test_candidates_are_all_combinations_of_choices(self):
        row = {"name": "a", "choose": {"classifier.learning_rate": [0.1, 0.2], "classifier.dropout": [0.0, 0.5]}}
        study = study_from({"title": "T", "rows": [row]}, "s")
        assert len(list(settings_to_choose_from(study, "phantom", study.rows[0]))) == 4

    def test_settings_of_the_command_override_shared_ones_and_are_noted(self):
        study = load_study("table4")
        made = with_shared_settings(study, "covid_ct", {"classifier.epochs": 11})
        epochs = {
            make_trial(made, load_preset("covid_ct"), variant, 0).params.classifier.epochs for variant in variants(made)
        }
        assert epochs == {11}
        assert made.data["covid_ct"].note == study.data["covid_ct"].note + " By --set: classifier.epochs = 11."
        assert made.data["pneumoniamnist"] == study.data["pneumoniamnist"]
        for varied in ("classifier.selection", "classifier.seed"):
            with pytest.raises(DcubeError, match=f"--set {varied}: the study varies it itself"):
                with_shared_settings(study, "covid_ct", {varied: 0})
        with pytest.raises(DcubeError, match=r"--set baseline\.learning_rate"):
            with_shared_settings(load_study("table2"), "covid_ct", {"baseline.learning_rate": 0.1})
        with pytest.raises(DcubeError, match=r"--set labels\.count"):
            with_shared_settings(load_study("labels_tuned"), "covid_ct", {"labels.count": 30})

    @given(st.text(max_size=120))
    @settings(max_examples=50)
    @pytest.mark.slow
    def test_any_row_name_gives_a_valid_experiment_name(self, text):
        study = Study.model_validate({"title": "T", "rows": [{"name": text[:80] or "x"}]})
        name = experiment_name("mine", "phantom", make_trial(study, Params(), variants(study)[0], 0))
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*[a-z0-9]", name) and len(name) < 100

    def test_overrides_reach_nested_groups(self):
        changed = with_overrides(Params(), {"classifier.sub_features.stage": -2, "synthesis.ratio.ill": 2}, "x")
        assert changed.classifier.sub_features.stage == -2 and changed.synthesis.ratio == {"ill": 2.0}
        with pytest.raises(DcubeError, match=r"data.name.deep: name has no keys below it"):
            with_overrides(Params(), {"data.name.deep": 1}, "x")


class TestStatistics:
    def test_one_repeat_equals_the_paired_comparison_of_two_models(self, tmp_path):
        """With one repeat only patients are resampled, so the values are exactly those of `dcube results`."""
        ours, theirs = predicted(tmp_path / "a", 1.5, 1), predicted(tmp_path / "b", 0.5, 2)
        made = differences([ours], [theirs], METRICS, EVALUATION)
        assert ours.predictions and theirs.predictions
        expected = compare(ours.predictions, theirs.predictions, EVALUATION).differences
        for name in METRICS:
            assert vars(made[name]) == pytest.approx(vars(expected[name]))

    def test_a_row_does_not_differ_from_itself(self, tmp_path):
        same = repeats_of(tmp_path, 1.0, range(3))
        made = differences(same, same, METRICS, EVALUATION)
        assert all(one.value == 0 and one.low <= 0 <= one.high and one.p > 0.5 for one in made.values())

    def test_different_repeats_widen_the_interval(self, tmp_path):
        """Three equal repeats and three unequal repeats with about the same mean."""
        equal = [predicted(tmp_path / f"equal{i}", 1.0, 3) for i in range(3)]
        unequal = [predicted(tmp_path / f"unequal{i}", skill, 3) for i, skill in enumerate((0.2, 1.0, 2.5))]
        other = [predicted(tmp_path / "other", 0.3, 9)] * 3
        narrow, wide = (differences(one, other, ["accuracy"], EVALUATION)["accuracy"] for one in (equal, unequal))
        assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)

    def test_best_row_must_be_better_than_every_other_row(self, tmp_path):
        good, fair, poor = (repeats_of(tmp_path, skill, range(3)) for skill in (2.5, 0.5, 0.0))
        assert significantly_best([fair, good, poor], METRICS, EVALUATION) == dict.fromkeys(METRICS, 1)
        twin = [predicted(tmp_path / f"twin{seed}", 2.5, seed + 50) for seed in range(3)]
        assert significantly_best([fair, good, twin], METRICS, EVALUATION) == {}
        assert significantly_best([good], METRICS, EVALUATION) == {}

    @pytest.mark.slow
    def test_clear_differences_stay_significant_with_many_tests(self, tmp_path):
        good = repeats_of(tmp_path / "good", 4.0, range(5))
        poor = [repeats_of(tmp_path / str(number), 0.0, range(5)) for number in range(12)]
        assert significantly_best([good, *poor], METRICS, EVALUATION) == dict.fromkeys(METRICS, 0)

    def test_repeats_are_paired_by_seed_and_checked_with_a_t_test(self, tmp_path):
        """Seeds that shift both rows alike do not widen the interval; three very different repeats show nothing."""
        shifts = (0.0, 1.0, 2.5)
        ours = [predicted(tmp_path / f"ours{i}", 0.6 + shift, 3) for i, shift in enumerate(shifts)]
        theirs = [predicted(tmp_path / f"theirs{i}", 0.3 + shift, 3) for i, shift in enumerate(shifts)]
        made = differences(ours, theirs, ["auroc"], EVALUATION)["auroc"]
        assert made.high - made.low < 0.15, "of 0.3 between the seeds"
        better = [predicted(tmp_path / f"better{i}", skill, 3) for i, skill in enumerate((0.5, 0.9, 2.5))]
        steady = [predicted(tmp_path / f"steady{i}", 0.1, 3) for i in range(3)]
        made = differences(better, steady, ["accuracy"], EVALUATION)["accuracy"]
        gap = [a.metrics["accuracy"] - b.metrics["accuracy"] for a, b in zip(better, steady, strict=True)]
        assert made.low > 0 and made.p == pytest.approx(ttest_rel(gap, [0, 0, 0]).pvalue) and made.p > 0.05

    def test_folds_of_cross_validation_are_resampled_separately(self, tmp_path):
        ours, theirs = (
            [predicted(tmp_path / f"{skill}-{fold}", skill, fold, shift=f"of{fold}") for fold in range(3)]
            for skill in (0.6, 0.1)
        )
        made = differences(ours, theirs, METRICS, EVALUATION)["accuracy"]
        assert made.value == pytest.approx(
            np.mean([a.metrics["accuracy"] - b.metrics["accuracy"] for a, b in zip(ours, theirs, strict=True)])
        )
        low, high = fold_intervals(ours, METRICS, EVALUATION)["accuracy"]
        assert low < made.first < high
        weights = [
            next(resample_weights(one.predictions.groups, 400, EVALUATION.seed + n)) for n, one in enumerate(ours)
        ]
        right = [one.predictions.probabilities.argmax(1) == one.predictions.labels for one in ours]
        drawn = np.mean([(w @ r) / w.sum(1) for w, r in zip(weights, right, strict=True)], axis=0)
        assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-9)
        assert fold_intervals([ours[0]] * 3, METRICS, EVALUATION) == {}, "seeds on one test"
        with pytest.raises(DcubeError, match="not tested on the same images"):
            differences(ours, theirs[::-1], METRICS, EVALUATION)

    def test_smaller_distances_are_better_and_tested_over_repeats(self, tmp_path):
        small, large = distance(tmp_path / "s", [10.0, 11.0, 12.0]), distance(tmp_path / "l", [20.0, 21.5, 22.0])
        assert significantly_best([large, small], ["fid", "kid"], EVALUATION) == {"fid": 1, "kid": 1}
        made = differences(small, large, ["fid"], EVALUATION)["fid"]
        assert made.p == pytest.approx(ttest_rel([10.0, 11.0, 12.0], [20.0, 21.5, 22.0]).pvalue)
        expected = ttest_rel([10.0, 11.0, 12.0], [20.0, 21.5, 22.0]).confidence_interval(0.95)
        assert (made.low, made.high) == pytest.approx((expected.low, expected.high))
        assert differences(small[:1], large[:1], ["fid"], EVALUATION)["fid"].p == 1.0, "one repeat shows nothing"

    def test_repeat_statistics_are_mean_and_sample_deviation(self, tmp_path):
        made = repeat_statistics(distance(tmp_path, [1.0, 2.0, 6.0]), "fid")
        assert (made.mean, made.deviation) == pytest.approx((3.0, np.std([1, 2, 6], ddof=1)))
        assert np.isnan(repeat_statistics(distance(tmp_path / "one", [1.0]), "fid").deviation)
        assert distance(tmp_path / "f", [4.0])[0].metrics == {
            "fid": 4.0, "kid": 0.04, "kid_std": 0.0, "fid, ill": 5.0, "kid, ill": 0.08, "kid_std, ill": 0.0,
        }  # fmt: skip


class TestTables:
    STUDY = study_from(
        {
            "title": "A_study, 100 %", "reference": "good", "metrics": METRICS,
            "data": {"phantom": {"note": "Small."}},
            "rows": [
                {"name": "good", "paper": {"phantom": [93.61, 92.05, 88.05, 89.69]}},
                {"name": "bad & old", "group": "CNN", "model": "baseline", "settings": {"baseline.method": "resnet18"},
                 "choose": {"baseline.learning_rate": [0.001, 0.01]}},
            ],
        },
        "s",
    )  # fmt: skip

    def test_markdown_contains_values_notes_and_choices(self, tmp_path):
        text = markdown(table_of(tmp_path, self.STUDY, {"good": 2.5, "bad & old": 0.0}))
        lines = text.splitlines()
        good = next(line for line in lines if line.startswith("| good |"))
        bad = next(line for line in lines if line.startswith("| CNN: bad & old†"))
        assert good.count("**") == 2 * len(METRICS) and bad.count("**") == 0
        assert "0.936" in good and "0.897" in good, "the paper's values"
        assert "Small. Mean ± standard deviation of 5 repeats (classifier.seed, baseline.seed)." in text
        assert "† trained from scratch" in text
        assert "Chosen on validation: bad & old: baseline.learning_rate = 0.001." in text
        assert "**good minus each other row:**" in text
        widths = {line.count("|") for line in lines if line.startswith("| ")}
        assert len(widths) == 2, "every row of the two tables has as many cells as its head"

    def test_names_with_markup_are_printed_literally(self, tmp_path, capsys):
        rows = [{"name": "good [/]"}, {"name": "bad [b]"}]
        study = study_from({"title": "[i]", "reference": "good [/]", "metrics": METRICS, "rows": rows}, "s")
        for part in terminal(table_of(tmp_path, study, {"good [/]": 2.5, "bad [b]": 0.0})):
            print_rich(part)
        shown = capsys.readouterr().out
        assert "[i]: phantom" in shown and "good [/]" in shown and "bad [b]" in shown and "[bold]" not in shown

    def test_nothing_is_bold_without_a_significant_difference(self, tmp_path):
        text = markdown(table_of(tmp_path, self.STUDY, {"good": 1.0, "bad & old": 1.0}))
        assert "**0" not in text

    def test_latex_is_escaped_and_balanced(self, tmp_path):
        text = latex(table_of(tmp_path, self.STUDY, {"good": 2.5, "bad & old": 0.0}))
        assert r"A\_study, 100 \%" in text and r"bad \& old$^\dagger$" in text and r"$\pm$" in text
        assert text.count("{") == text.count("}") and text.count(r"\begin") == text.count(r"\end") == 2
        body = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {body[0].count("&")}

    def test_p_values_are_corrected_with_holm_over_the_whole_table(self, tmp_path):
        table = table_of(tmp_path, self.STUDY, {"good": 1.2, "bad & old": 0.8})
        (one,) = table.comparisons
        plain = np.array([one.differences[name].p for name in METRICS])
        assert list(one.p.values()) == pytest.approx(holm(plain).tolist())

    def test_study_writes_all_its_files(self, tmp_path):
        values = self.STUDY.model_dump() | {"sweep": {
            "parameter": "labels.count", "title": "labels", "values": [20, 50, 100],
        }, "repeats": 2}  # fmt: skip
        table = table_of(tmp_path / "results", study_from(values, "s"), {"good": 2.5, "bad & old": 0.0})
        write(table, tmp_path / "out")
        assert {file.name for file in (tmp_path / "out").iterdir()} == {
            "table.md", "table.tex", "repeats.csv", "comparisons.csv", "plot.png",
        }  # fmt: skip
        frame = repeats_frame(table)
        assert len(frame) == 2 * 3 * 2 * (len(METRICS) + 1), "rows, values, repeats, metrics of test and validation"
        found = frame[(frame["row"] == "good") & (frame["at"] == 50) & (frame["metric"] == "accuracy")]["result"]
        line = next(one for one in table.lines if one.variant == Variant(table.study.rows[0], 50))
        assert found.mean() == pytest.approx(line.metrics["accuracy"].mean)
        assert len(pd.read_csv(tmp_path / "out/comparisons.csv")) == 3 * len(METRICS)

    def test_plot_has_a_dot_for_each_repeat_and_a_name_for_each_row(self, tmp_path):
        table = table_of(tmp_path, self.STUDY, {"good": 2.5, "bad & old": 0.0})
        shown = plot(table)
        assert [axis.get_xlabel() for axis in shown.axes] == [title_of(METRICS[0]), title_of(METRICS[-1])]
        assert [label.get_text() for label in shown.axes[0].get_yticklabels()] == ["good", "CNN: bad & old†"]
        for axis, name in zip(shown.axes, (METRICS[0], METRICS[-1]), strict=True):
            dots = [one for one in axis.lines if one.get_marker() == "o"]
            for height, (line, drawn) in enumerate(zip(table.lines, dots, strict=True)):
                assert list(drawn.get_xdata()) == [result.metrics[name] for result in line.results]
                assert set(drawn.get_ydata()) == {height}
            (dashed,) = (one for one in axis.lines if one.get_linestyle() == "--")
            assert set(dashed.get_xdata()) == {table.lines[0].metrics[name].mean}

    def test_files_are_copied_and_short_tables_are_shown(self, tmp_path):
        values = {"title": "T", "report": "files", "target": "probe", "files": ["a/few.csv"], "repeats": 1, "vary": []}
        study = study_from({**values, "rows": [{"name": "only"}]}, "s")
        kept = tmp_path / "kept"
        kept.mkdir()
        pd.DataFrame({"name": ["x", "y"], "value": [0.123456, None]}).to_csv(kept / "few.csv", index=False)
        pd.DataFrame({"value": range(1000)}).to_csv(kept / "many.csv", index=False)
        (kept / "curve.png").write_bytes(b"picture")
        variant = variants(study)[0]
        table = make_table(
            "mine", study, load_preset("phantom"), StudyResults({variant: [Result.load(kept)]}, {variant: {}}, {})
        )
        write(table, tmp_path / "out")
        text = (tmp_path / "out/table.md").read_text()
        assert "| x | 0.1235 |\n| y | – |" in text and "999" not in text and "![curve](curve.png)" in text
        assert {file.name for file in (tmp_path / "out").iterdir()} == {"table.md", "few.csv", "many.csv", "curve.png"}

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (RepeatStatistics(0.87345, 0.0142), "0.873 ± 0.014"),
            (RepeatStatistics(2032.44, 12.3), "2032.4 ± 12.3"),
            (RepeatStatistics(0.5, float("nan")), "0.500"),
            (RepeatStatistics(float("nan"), float("nan")), "–"),
        ],
    )
    def test_values_are_formatted_with_their_deviation(self, value, words):
        assert value_in_words(value) == words
