"""An ensemble of candidates is a candidate: one file of weights, and the mean of its members' probabilities."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dcube.artifacts.candidates import DCUBE, SUB_FEATURES
from dcube.artifacts.layout import CONFIG, WEIGHTS
from dcube.artifacts.schemas.candidate import Calibration, CandidateConfig
from dcube.artifacts.weights import load_weights, save_weights
from dcube.classifier.candidate import Ensemble, load_candidate, save_ensemble
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.inference.prediction import spread_timesteps
from tests.support.random_candidate import write_candidate

CPU = torch.device("cpu")


def members(folder: Path, params: Params, kind: str) -> list[Path]:
    """Three candidates that differ in weights and in everything that may differ between folds."""
    folders = [folder / str(number) for number in range(3)]
    for number, own in enumerate(folders):
        write_candidate(own, params, seed=number, kind=kind)
        tensors, config = load_weights(own, CandidateConfig)
        changed: dict = {"calibration": Calibration(temperature=1 + number), "flips": number == 1}
        changed |= {"blocks": [number % 2, 2]} if kind == DCUBE else {}
        save_weights(own, tensors, config.model_copy(update=changed))
    return folders


@pytest.mark.parametrize("kind", [DCUBE, SUB_FEATURES])
def test_ensemble_gives_the_mean_of_its_members_calibrated_probabilities(tmp_path, tiny_params, kind):
    folders = members(tmp_path, tiny_params, kind)
    (tmp_path / "all").mkdir()
    config = CandidateConfig.load(folders[0] / CONFIG).model_copy(update={"blocks": None})
    digest = save_ensemble(tmp_path / "all", folders, config)
    ensemble, single = load_candidate(tmp_path / "all", CPU), [load_candidate(own, CPU) for own in folders]
    assert isinstance(ensemble, Ensemble) and ensemble.kind == kind and ensemble.config.weights_sha256 == digest
    assert [one.weights_sha256 for one in ensemble.config.networks] == [one.config.weights_sha256 for one in single]

    generator = np.random.default_rng(0)
    large, small = (generator.integers(0, 255, (5, 1, size, size), dtype=np.uint8) for size in (32, 16))
    each = np.array([one.predict(large, small) for one in single])
    assert np.ptp(each, axis=0).max() > 0.01, "the members differ"
    found = ensemble.predict(large, small)
    assert np.allclose(found, each.mean(axis=0), atol=1e-12) and np.allclose(found.sum(axis=1), 1)

    if not (levels := spread_timesteps(ensemble)):
        return
    together, at_levels = ensemble.predict_by_timestep(large, small, levels)
    by_hand = np.mean([one.predict_by_timestep(large, small, levels)[1] for one in single], axis=0)
    assert np.allclose(together, found, atol=1e-6) and np.allclose(at_levels, by_hand, atol=1e-12)


def test_damaged_ensemble_is_refused(tmp_path, tiny_params):
    folders = members(tmp_path, tiny_params, SUB_FEATURES)
    (tmp_path / "all").mkdir()
    save_ensemble(tmp_path / "all", folders, CandidateConfig.load(folders[0] / CONFIG))
    content = bytearray((tmp_path / "all" / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / "all" / WEIGHTS).write_bytes(content)
    with pytest.raises(DcubeError, match="is damaged"):
        load_candidate(tmp_path / "all", CPU)
