"""Distances between image sets, class ratios, generation and the memorisation audit."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.image.fid import FrechetInceptionDistance

from dcube.artifacts.schemas.audit import Audit
from dcube.config.schema import Fid, Pretrained, Synthesis
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.weights import build_uvit
from dcube.engine.pretrained import NO_WEIGHTS, PACKAGED, create_pretrained
from dcube.errors import DcubeError
from dcube.generative_metrics.blockiness import blockiness
from dcube.generative_metrics.class_counts import apportion, synthetic_counts
from dcube.generative_metrics.extractor import load_extractor
from dcube.generative_metrics.frechet import FrechetTracker, frechet_distance, kernel_distance
from dcube.synthesis.generation import generate, save_synthetic
from dcube.synthesis.memorisation import audit_memorisation, nearest_figure

CPU = torch.device("cpu")
LITE = Fid(extractor="efficientnet_lite0", resize=64, samples=20, sampling_steps=2)
NAMES = st.sampled_from(["benign", "malignant", "normal", "other"])


@pytest.fixture
def generator():
    return np.random.default_rng(0)


# ----------------------------------------------------------------------------------------------- distances


def test_fid_of_a_set_with_itself_is_zero(generator):
    features = generator.normal(size=(40, 200)).astype(np.float32)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(500, 400), (30, 500), (25, 35)])
def test_fid_equals_the_textbook_formula_and_torchmetrics(generator, n, m):
    first = generator.normal(size=(n, 50)).astype(np.float32)
    second = (generator.normal(size=(m, 50)) @ generator.normal(size=(50, 50)) / 7 + 0.3).astype(np.float32)
    ours = frechet_distance(first, second)
    covariances = [np.cov(features.astype(np.float64), rowvar=False) for features in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    assert ours == pytest.approx(means @ means + np.trace(sum(covariances) - 2 * root), rel=1e-4)
    library = FrechetInceptionDistance(feature=_Identity(50))
    library.update(torch.from_numpy(first), real=True)
    library.update(torch.from_numpy(second), real=False)
    assert ours == pytest.approx(library.compute().item(), rel=1e-4)


class _Identity(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features):
        return features


def test_fid_of_two_gaussians_equals_the_closed_form(generator):
    sample = generator.normal(size=(20_000, 4))
    other = 2.0 * generator.normal(size=(20_000, 4)) + np.array([3.0, 0, 0, 0])
    assert frechet_distance(sample, other) == pytest.approx(3.0**2 + 4 * (2.0 - 1.0) ** 2, rel=0.02)
    assert frechet_distance(sample, sample + 1.5) == pytest.approx(4 * 1.5**2, rel=1e-9)


def test_kid_is_unbiased_and_detects_a_difference(generator):
    sets = generator.normal(size=(3, 300, 32)).astype(np.float32)
    same, deviation = kernel_distance(sets[0], sets[1])
    different, _ = kernel_distance(sets[0], sets[2] + 0.5)
    assert abs(same) < 3 * deviation
    assert different > 10 * deviation
    assert kernel_distance(sets[0], sets[1]) == (same, deviation)


def test_classes_are_compared_with_their_real_images_and_features_cached(disc_dataset, tmp_path, monkeypatch):
    tracker = FrechetTracker(LITE, disc_dataset, CPU, cache=tmp_path)
    real = torch.from_numpy(disc_dataset.images(16)[tracker.rows])
    labels = torch.from_numpy(tracker.real_labels)
    assert tracker.measure(real, labels).fid == pytest.approx(0, abs=1e-6)
    measured = tracker.measure_classes(real, labels)
    assert list(measured) == disc_dataset.classes
    assert all(values.fid == pytest.approx(0, abs=1e-6) for values in measured.values())
    swapped = tracker.measure_classes(real, (labels + 1) % 3)
    assert min(values.fid for values in swapped.values()) > 1
    (disc_dataset.folder / "images-16.npy").unlink()
    again = FrechetTracker(LITE, disc_dataset, CPU, cache=tmp_path)
    assert again.measure(real, labels).fid == pytest.approx(0, abs=1e-6)


def test_generated_labels_follow_the_training_split(disc_dataset):
    tracker = FrechetTracker(LITE, disc_dataset, CPU)
    assert torch.bincount(tracker.labels).tolist() == [7, 7, 6]
    assert tracker.seeds == list(range(20))


# ---------------------------------------------------------------------------------------------- extractors


def test_packaged_weights_give_the_pretrained_features():
    image = np.arange(64 * 64, dtype=np.uint32).reshape(1, 1, 64, 64) * 7 % 256
    features = load_extractor(LITE, CPU)(image.astype(np.uint8))
    assert features.shape == (1, 1280)
    np.testing.assert_allclose(features[0, [0, 2, 7]], [0, 3.6003, 4.8643], rtol=1e-3, atol=1e-4)
    assert features.sum() == pytest.approx(877.94, rel=1e-3)


def test_packaged_weights_recognise_a_photograph():
    photograph = pytest.importorskip("sklearn.datasets").load_sample_image("flower.jpg")[:, 100:527]
    network = create_pretrained("tf_efficientnet_lite0", PACKAGED).eval()
    pixels = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float()
    small = nn.functional.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
    daisy = 985
    assert network(small / 127.5 - 1).argmax().item() == daisy


def test_inception_weights_are_read_from_a_file_with_checksum(tmp_path, monkeypatch):
    path = tmp_path / "inception.safetensors"
    _write_random_inception(path, monkeypatch)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    extractor = load_extractor(Fid(weights_file=str(path), weights_sha256=digest), CPU)
    assert extractor(np.zeros((1, 1, 16, 16), dtype=np.uint8)).shape == (1, 2048)
    with pytest.raises(DcubeError, match="sha256"):
        load_extractor(Fid(weights_file=str(path), weights_sha256="0" * 64), CPU)


def _write_random_inception(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", lambda *args, **kwargs: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="none")
    save_file(network.state_dict(), path)


@pytest.mark.parametrize(("content", "suffix"), [(b"", ".pth"), (b"text", ".pth"), (b"text", ".safetensors")])
def test_files_without_inception_weights_are_refused(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(DcubeError, match="no Inception weights"):
        load_extractor(Fid(weights_file=str(path), weights_sha256=hashlib.sha256(content).hexdigest()), CPU)
    with pytest.raises(DcubeError, match="weights_file"):
        load_extractor(Fid(), CPU)


def in_a_file(network: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> Pretrained:
    """Save the weights of the network and return them as a pretrained source."""
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in network.state_dict().items()}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Pretrained(weights="file", weights_file=str(path), weights_sha256=sha256)


def test_pretrained_weights_are_loaded_from_a_file(tmp_path):
    original = create_pretrained("resnet10t")
    source = in_a_file(original, tmp_path / "weights.safetensors")
    loaded = create_pretrained("resnet10t", source)
    for ours, theirs in zip(loaded.state_dict().values(), original.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    features = create_pretrained("resnet10t", source, features_only=True, out_indices=(-1,))
    assert torch.equal(features.state_dict()["model.conv1.0.weight"], original.state_dict()["conv1.0.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_of_another_network_are_refused(tmp_path, dtype):
    sources = {
        name: in_a_file(create_pretrained(name), tmp_path / f"{name}.safetensors", dtype)
        for name in ("test_vit", "test_resnet")
    }
    as_features = {"features_only": True, "out_indices": (-1,)}
    for options in ({}, as_features, {"num_classes": 3, "in_chans": 1}):
        for name, source in sources.items():
            create_pretrained(name, source, **options)
            other = "test_resnet" if name == "test_vit" else "test_vit"
            with pytest.raises(DcubeError, match=f"{name}.safetensors contains .* weights of {other}"):
                create_pretrained(other, source, **options)


@pytest.mark.parametrize("options", [{}, {"features_only": True, "out_indices": (-1,)}])
def test_network_of_fixed_size_is_built_for_the_image_size(tmp_path, options):
    own = create_pretrained("test_vit", image_size=160).eval()
    source = in_a_file(own, tmp_path / "test_vit.safetensors")
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    same = create_pretrained("test_vit", source, 160)
    assert same.training
    torch.testing.assert_close(same.eval()(images), own(images))
    small = create_pretrained("test_vit", source, 48, **options).eval()(images[:, :, :48, :48])
    shape = small[0].shape if options else small.shape
    assert shape == ((2, 64, 3, 3) if options else (2, 1000))


def test_network_that_does_not_accept_the_image_size_is_refused():
    with pytest.raises(DcubeError, match="crossvit_9_240 does not accept images of 64 × 64"):
        create_pretrained("crossvit_9_240", image_size=64)


def test_feature_network_omits_later_layers():
    whole = create_pretrained("tf_efficientnet_lite0", PACKAGED).eval()
    part = create_pretrained("tf_efficientnet_lite0", PACKAGED, features_only=True, out_indices=(-2,)).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = whole.forward_intermediates(images, indices=[3], intermediates_only=True)
    torch.testing.assert_close(part(images)[0], expected[0], rtol=1e-3, atol=1e-4)
    assert sum(p.numel() for p in part.parameters()) < 0.25 * sum(p.numel() for p in whole.parameters())


def file_called(name: str) -> Pretrained:
    return Pretrained(weights="file", weights_file=name, weights_sha256="0" * 64)


@pytest.mark.parametrize(
    ("architecture", "source", "message"),
    [
        ("no_such_net", NO_WEIGHTS, "no network"),
        ("resnet18", PACKAGED, "tf_efficientnet_lite0 only"),
        ("resnet18", file_called("missing.safetensors"), "missing"),
        ("resnet18", file_called("weights.pth"), "can run code"),
    ],
)
def test_invalid_pretrained_sources_are_refused(architecture, source, message):
    with pytest.raises(DcubeError, match=message):
        create_pretrained(architecture, source)


# -------------------------------------------------------------------------------------------- class ratios


@given(st.integers(0, 10_000), st.dictionaries(NAMES, st.floats(0.01, 100), min_size=1))
def test_apportioned_counts_add_up_and_are_within_one_of_their_share(total, weights):
    counts = apportion(total, weights)
    assert sum(counts.values()) == total
    for name, weight in weights.items():
        assert abs(counts[name] - total * weight / sum(weights.values())) < 1 + 1e-6


@given(st.dictionaries(NAMES, st.tuples(st.integers(1, 5000), st.floats(0.1, 10)), min_size=1), st.integers(0, 100_000))
def test_class_ratio_is_reached_without_removing_real_images(classes, maximum):
    real = {name: count for name, (count, _) in classes.items()}
    ratio = {name: share for name, (_, share) in classes.items()}
    counts = synthetic_counts(real, ratio, maximum)
    assert min(counts.values()) >= 0
    assert sum(counts.values()) <= maximum
    unlimited = synthetic_counts(real, ratio, 10**9)
    if sum(unlimited.values()) <= maximum:
        assert counts == unlimited
    images_a_share = max(real[name] / ratio[name] for name in real)
    for name in real:
        assert math.isclose(real[name] + unlimited[name], images_a_share * ratio[name], abs_tol=0.5 + 1e-6)


def test_class_ratio_of_the_paper_gives_expected_counts():
    real = {"benign": 1000, "malignant": 1000, "normal": 4000}
    wished = {"benign": 2, "malignant": 2, "normal": 3}
    assert synthetic_counts(real, wished, 30_000) == {"benign": 1667, "malignant": 1667, "normal": 0}
    assert synthetic_counts(real, wished, 100) == {"benign": 50, "malignant": 50, "normal": 0}
    assert synthetic_counts(real, {}, 30_000) == {"benign": 3000, "malignant": 3000, "normal": 0}


def test_class_ratio_with_other_classes_is_refused():
    with pytest.raises(DcubeError, match="names bening"):
        synthetic_counts({"benign": 1, "normal": 2}, {"bening": 1, "normal": 1}, 10)
    with pytest.raises(DcubeError, match="leaves out normal"):
        synthetic_counts({"benign": 1, "normal": 2}, {"benign": 1}, 10)


# ---------------------------------------------------------------------------------------------- generation


@pytest.mark.parametrize("maximum", [0, 7])
def test_files_of_generated_images_agree(disc_dataset, tiny_params, tmp_path, maximum):
    model = build_uvit(tiny_params.diffusion, 16, 1, 3).eval()
    synthesis = tiny_params.synthesis.model_copy(update={"maximum": maximum, "seed": 5})
    schedule, precision = NoiseSchedule(tiny_params.diffusion), torch.inference_mode()
    synthetic = generate(model, schedule, disc_dataset, synthesis, precision)
    save_synthetic(tmp_path, synthetic, disc_dataset)
    manifest = pd.read_csv(tmp_path / "manifest.csv")
    assert np.load(tmp_path / "images-16.npy", mmap_mode="r").shape == (maximum, 1, 16, 16)
    assert np.load(tmp_path / "images-32.npy", mmap_mode="r").shape == (maximum, 1, 32, 32)
    assert manifest["label"].tolist() == ["benign"] * maximum
    assert manifest["seed"].tolist() == [5 + i for i in range(maximum)]


def test_no_images_are_generated_for_balanced_classes(disc_dataset, tiny_params):
    model = build_uvit(tiny_params.diffusion, 16, 1, 3).eval()
    schedule, precision = NoiseSchedule(tiny_params.diffusion), torch.inference_mode()
    assert len(generate(model, schedule, disc_dataset, Synthesis(), precision).images) == 0


# --------------------------------------------------------------------------------------------- memorisation


def _smooth_images(generator: np.random.Generator, n: int) -> np.ndarray:
    coarse = torch.from_numpy(generator.uniform(0, 255, size=(n, 1, 4, 4)))
    return nn.functional.interpolate(coarse, (48, 48), mode="bilinear").to(torch.uint8).numpy()


def test_audit_reports_copies_but_not_new_images(generator, tmp_path):
    training, held_out, new = (_smooth_images(generator, n) for n in (200, 200, 100))
    brighter = np.clip(training[7].astype(int) + 20 + generator.integers(-5, 6, training[7].shape), 0, 255)
    synthetic = np.concatenate((new, training[[3]], brighter[None].astype(np.uint8)))
    audit = audit_memorisation(synthetic, training, held_out)
    summary = audit.summary()
    assert summary.exact_copies == 1
    assert set(audit.nearest()[:2]) == {100, 101}
    assert audit.neighbours[[100, 101]].tolist() == [3, 7]
    assert 2 / 102 <= summary.share_nearer_than_threshold < 0.06
    nearest_figure(audit, synthetic, training).savefig(tmp_path / "nearest.png")
    summary.save(tmp_path / "audit.json")
    assert Audit.load(tmp_path / "audit.json") == summary


def test_audit_accepts_zero_images(generator, tmp_path):
    training, held_out = _smooth_images(generator, 20), _smooth_images(generator, 10)
    audit = audit_memorisation(training[:0], training, held_out)
    assert audit.summary().share_nearer_than_threshold is None
    assert audit.summary().nearest == []
    nearest_figure(audit, training[:0], training).savefig(tmp_path / "nearest.png")


def test_visible_patches_raise_blockiness(generator):
    plain = generator.integers(0, 256, size=(20, 1, 32, 32), dtype=np.uint8)
    patches = np.kron(generator.integers(0, 200, size=(20, 1, 4, 4)), np.ones((8, 8))) + plain // 16
    assert blockiness(plain, 8) == pytest.approx(1, abs=0.05)
    assert blockiness(patches.astype(np.uint8), 8) > 5
    assert blockiness(plain, 1) == blockiness(plain, 32) == blockiness(np.zeros_like(plain), 8) == 1


def test_constant_images_are_refused(disc_dataset, tiny_params, monkeypatch):
    """They are refused only if every image has a single grey value."""
    greys = torch.arange(7, dtype=torch.uint8).reshape(7, 1, 1, 1).repeat(1, 1, 16, 16)
    monkeypatch.setattr("dcube.synthesis.generation.sample", lambda *_, **__: greys)
    model, synthesis = build_uvit(tiny_params.diffusion, 16, 1, 3), tiny_params.synthesis
    arguments = model, NoiseSchedule(tiny_params.diffusion), disc_dataset, synthesis, torch.inference_mode()
    with pytest.raises(DcubeError, match="all 7 synthetic images are constant: train the diffusion model longer"):
        generate(*arguments)
    greys[3, 0, 0, 0] = 200
    assert len(generate(*arguments).images) == 7
