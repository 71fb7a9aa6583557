"""Gaussianity of feature maps (Eq. 6) and the selection of blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage, stats

from dcube.artifacts.layout import SELECTION
from dcube.artifacts.schemas.selection import Selection
from dcube.diffusion.weights import build_uvit
from dcube.errors import DcubeError
from dcube.features.gaussianity import gaussianity, ks_p_value, ks_statistic, map_statistics
from dcube.features.random_field import null_statistics, p_value_under, power_spectrum
from dcube.features.selection import blocks_table, choose_blocks, select_blocks, selection_figure

CPU = torch.device("cpu")


@settings(max_examples=60)
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 300)), elements=st.floats(-4, 4)))
def test_ks_statistic_equals_scipy(values):
    expected = [stats.kstest(row, "norm").statistic for row in values]
    np.testing.assert_allclose(ks_statistic(values), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 5, 9, 13, 16, 17, 25, 49, 64, 100, 140, 141, 150, 196, 225, 256, 300, 1024])
def test_tabulated_p_value_equals_scipy(n):
    statistic = np.concatenate((np.linspace(0.5 / n, min(1, 3 / n), 100), np.linspace(0.5 / n, 1, 400)))
    np.testing.assert_allclose(ks_p_value(statistic, n), stats.kstwo.sf(statistic, n), rtol=0, atol=1e-6)


def test_gaussianity_equals_a_scipy_loop():
    maps = np.random.default_rng(0).gamma(2.0, size=(40, 256))
    standardised = (maps - maps.mean(axis=1, keepdims=True)) / maps.std(axis=1, keepdims=True)
    expected = [stats.kstest(row, "norm") for row in standardised]
    tested = gaussianity(maps)
    np.testing.assert_allclose(tested.statistic, [e.statistic for e in expected], rtol=0, atol=1e-9)
    np.testing.assert_allclose(tested.p_value, [e.pvalue for e in expected], rtol=0, atol=1e-6)


def test_noise_is_gaussian_and_a_picture_is_not():
    generator = np.random.default_rng(0)
    noise = generator.normal(3.0, 7.0, size=(200, 256))
    picture = np.zeros((16, 16))
    picture[4:9, 5:12] = 1.0
    pictures = picture.ravel() + 0.01 * generator.normal(size=(200, 256))
    assert gaussianity(noise).p_value.min() > 0.05
    assert gaussianity(pictures).p_value.max() < 1e-6


def test_p_value_of_normal_values_is_uniform():
    values = np.random.default_rng(0).normal(size=(4000, 64))
    p = ks_p_value(ks_statistic(values), 64)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_gaussianity_ignores_scale_and_offset_and_accepts_constant_maps():
    maps = np.random.default_rng(0).exponential(size=(5, 49))
    np.testing.assert_allclose(gaussianity(maps).statistic, gaussianity(1e4 * maps - 300).statistic, atol=1e-9)
    constant = gaussianity(np.full((2, 49), 0.3, dtype=np.float32))
    assert constant.statistic.tolist() == [0, 0]
    assert constant.p_value.tolist() == [1, 1]


def fields(n: int, side: int, smoothing: float, seed: int = 0) -> np.ndarray:
    """Blurred Gaussian noise (n, side, side), generated independently of the null."""
    noise = np.random.default_rng(seed).normal(size=(n, side, side))
    return ndimage.gaussian_filter(noise, (0, smoothing, smoothing), mode="wrap") if smoothing else noise


def test_null_of_independent_patches_equals_lilliefors():
    null = null_statistics(power_spectrum(fields(500, 8, 0.0)), 8, np.random.default_rng(1))
    assert np.quantile(null, 0.95) == pytest.approx(0.886 / 8, rel=0.02)  # Lilliefors' table, n > 30: 0.886 / sqrt(n)
    scipys = stats.goodness_of_fit(
        stats.norm, fields(1, 8, 0.0)[0].ravel(), statistic="ks", n_mc_samples=999, rng=np.random.default_rng(2)
    ).null_distribution  # fits mean and deviation (with n - 1) to every sample
    assert np.quantile(null, [0.5, 0.95]) == pytest.approx(np.quantile(scipys, [0.5, 0.95]), rel=0.04)


@pytest.mark.parametrize("smoothing", [0.0, 0.7, 1.5])
def test_autocorrelated_gaussian_maps_are_rejected_at_the_nominal_rate(smoothing):
    maps = fields(2000, 8, smoothing)
    null = null_statistics(power_spectrum(maps), 8, np.random.default_rng(1))
    rejected = np.mean([p_value_under(null, d) < 0.05 for d in map_statistics(maps.reshape(len(maps), -1))])
    assert rejected == pytest.approx(0.05, abs=0.015)  # three standard errors
    assert p_value_under(null, 1.0) == 1 / 5000


def test_published_null_is_selectable(disc_dataset, tiny_params):
    model = build_uvit(tiny_params.diffusion, 16, 1, 3).eval()
    plain = tiny_params.features.model_copy(update={"null": "as_published"})
    ours, published = (select_blocks(model, disc_dataset, its, CPU) for its in (tiny_params.features, plain))
    assert published.statistic == ours.statistic
    np.testing.assert_allclose(published.p_value, stats.kstwo.sf(published.statistic, 16), atol=1e-6)
    np.testing.assert_allclose(stats.kstwo.sf(published.critical, 16), 0.05)
    assert ours.critical != published.critical


def test_all_significant_blocks_are_selected():
    best, worst = choose_blocks(np.array([0.1, 0.4, 0.3, 0.5, 0.2]), np.array([0.9, 0.01, 0.02, 0.001, 0.5]), 0.05, 2)
    assert (best, worst) == ([1, 2, 3], [0, 2, 4])


def test_too_few_significant_blocks_are_filled_up_by_largest_statistic():
    best, worst = choose_blocks(np.array([0.1, 0.15, 0.3, 0.5, 0.2]), np.array([0.9, 0.8, 0.2, 0.001, 0.5]), 0.05, 2)
    assert (best, worst) == ([2, 3], [0, 1])


def test_selection_is_reproducible_and_read_back_as_written(disc_dataset, tiny_params, tmp_path):
    model = build_uvit(tiny_params.diffusion, 16, 1, 3).eval()
    selection = select_blocks(model, disc_dataset, tiny_params.features, CPU)
    assert selection == select_blocks(model, disc_dataset, tiny_params.features, CPU)
    selection.save(tmp_path / SELECTION)
    assert Selection.load(tmp_path / SELECTION) == selection
    table = blocks_table(selection)
    assert table["position"].tolist() == ["in", "middle", "out"]
    assert table["block"][table["kept"]].tolist() == selection.best
    selection_figure(selection).savefig(tmp_path / "blocks.png")


def test_selection_does_not_use_validation_or_test_images(disc_dataset, tiny_params):
    model = build_uvit(tiny_params.diffusion, 16, 1, 3).eval()
    before = select_blocks(model, disc_dataset, tiny_params.features, CPU)
    path = disc_dataset.folder / "images-16.npy"
    images = np.load(path)
    images[(disc_dataset.manifest["split"] != "train").to_numpy()] = 255
    np.save(path, images)
    assert select_blocks(model, disc_dataset, tiny_params.features, CPU) == before


def test_missing_selection_names_the_stage(tmp_path):
    with pytest.raises(DcubeError, match="select_features"):
        Selection.load(tmp_path / SELECTION)
