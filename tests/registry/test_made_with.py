"""Results whose own files name other parameters than params.yaml, which was edited while a stage ran."""

import re

import pytest

from dcube.artifacts.layout import DIFFUSION
from dcube.artifacts.schemas.diffusion import DiffusionConfig
from dcube.config.loading import with_overrides
from dcube.errors import DcubeError
from dcube.registry.made_with import other_parameters
from dcube.stages import register
from tests.support.evaluated_candidates import CANDIDATES, write_evaluated


@pytest.fixture
def evaluated(working_copy, tiny_params):
    for number, (name, kind) in enumerate(CANDIDATES.items()):
        write_evaluated(name, number, 0.9, 20, tiny_params, kind=kind)
    DIFFUSION.mkdir(parents=True)
    config = {
        "diffusion": tiny_params.diffusion,
        "image_size": 16,
        "best_step": 1,
        "channels": 1,
        "classes": ["a", "b"],
    }
    DiffusionConfig(**config, data_fingerprint="f" * 64).save(DIFFUSION / "config.json")
    return tiny_params


@pytest.mark.parametrize(
    ("parameter", "value", "stage"),
    [
        ("diffusion.epochs", 5, "train_diffusion"),
        ("classifier.learning_rate", 0.5, "train_classifier"),
        ("classifier.sub_features.stage", 2, "train_classifier"),
        ("baseline.weight_decay", 0.5, "train_baseline"),
        ("evaluation.abstain_below", 0.5, "evaluate@dcube"),
        ("evaluation.seed", 5, "evaluate@dcube"),
        ("evaluation.set_coverage", 0.75, "evaluate@untrained_uvit"),
        ("evaluation.abstain_by_set", True, "evaluate@baseline"),
        ("evaluation.prevalence", 0.25, "evaluate@dcube"),
    ],
)
def test_changed_parameter_is_named_with_its_stage(evaluated, parameter, value, stage) -> None:
    assert list(other_parameters(evaluated)) == []
    sentences = list(other_parameters(with_overrides(evaluated, {parameter: value}, "edited")))
    words = rf"other values of {parameter} than params.yaml has .*, now {value}.* {stage}`"
    assert re.search(words, "\n".join(sentences))


def test_parameters_that_no_result_uses_may_differ(evaluated) -> None:
    edited = with_overrides(evaluated, {"probe.draws": 7, "baseline.ema_decay": 0.9}, "edited")
    assert list(other_parameters(edited)) == []


def test_results_of_other_parameters_are_not_registered(evaluated, working_copy) -> None:
    edited = with_overrides(evaluated, {"classifier.epochs": 99}, "edited")
    (working_copy / "params.yaml").write_text(edited.to_yaml())
    with pytest.raises(DcubeError, match=r"made with other values of classifier\.epochs"):
        register.main()
