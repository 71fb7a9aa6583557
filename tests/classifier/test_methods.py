"""The methods to compare with: their list, their trainable parts, and their pretrained weights."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from dcube.classifier.candidate import build_method
from dcube.classifier.method import TABLE_IX, all_methods, method, method_names, registered_method
from dcube.classifier.methods.t2t_vit import TokenPerformer
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.frozen import Frozen
from dcube.cli.main import app
from dcube.config.schema import Pretrained
from dcube.engine.pretrained import NO_WEIGHTS
from dcube.errors import DcubeError
from dcube.evaluation.model_card import candidate_in_words, kind_in_words

# Published millions of parameters, at 224 pixels and 1000 classes, without the head on a frozen encoder.
PUBLISHED_SIZES = {
    "resnet101": 44.5, "resnext101": 88.8, "resnest50": 27.5, "shufflenet_v2": 2.28, "t2t_vit": 21.5, "vit_b16": 86.6,
    "cvt": 20.0, "mit_b0": 3.6, "pit_b": 73.8, "pvt_v2_b0": 3.7, "pvt_tiny": 13.2,
}  # fmt: skip
FROM_TABLE_IX = {
    "resnet101": ("sgd", 1e-3, 1e-4, 50),
    "resnext101": ("sgd", 1e-3, 1e-4, 50),
    "shufflenet_v2": ("sgd", 1e-3, 5e-5, 50),
    "vit_b16": ("adamw", 6e-6, 3e-1, 200),
    "mit_b0": ("adamw", 8e-6, 1e-2, 100),
    "cvt": ("adamw", 6.5e-5, 1e-2, 100),
    "pvt_v2_b0": ("adamw", 1e-5, 1e-2, 50),
    "pvt_tiny": ("adamw", 8e-6, 1e-2, 50),
    "cpt": ("adamw", 5e-5, 1e-2, 50),
}
TRAINED_IN_THEIR_OWN_WAY = ("diffmic", "cpt")  # tested in files of their own
LARGE = ("radio", "radio_lora", "resnet101", "resnext101", "vit_b16")  # slow; smaller ones are tested instead
PROBES = ("radio_probe", "medclip_probe", "imagenet_probe")
OF_TRANSFORMERS = ("cvt", "mit_b0", "pvt_tiny", "medclip_probe")
UNPUBLISHED = ("pixel_regression",)  # nobody published weights for these methods
NOT_ON_THE_HUB = ("shufflenet_v2", "t2t_vit", "medclip_probe", *UNPUBLISHED)


def noise(n: int, channels: int, side: int) -> Tensor:
    return torch.randint(
        0, 256, (n, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def unfilled(name: str, task: Task, pretrained: Pretrained = NO_WEIGHTS) -> nn.Module:
    """A network on the meta device, which is built at once because it has no memory."""
    with torch.device("meta"):
        return build_method(name, task, pretrained)


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in network.state_dict().items()}


def trained(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def saved(tensors: dict[str, Tensor], path: Path) -> Pretrained:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Pretrained(weights="file", weights_file=str(path), weights_sha256=digest)


# --- the list


def test_every_method_file_registers_its_method() -> None:
    assert {name for name in method_names() if registered_method(name)} == set(method_names())


def test_help_and_method_names_do_not_import_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from dcube.cli.main import app\n"
        "from dcube.classifier.method import method_names\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0 and 'cpt' in method_names()\n"
        "assert not {'torch', 'timm'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_methods_have_the_settings_of_table_ix() -> None:
    listed = {
        it.name: (it.optimiser, it.learning_rate, it.weight_decay, it.epochs)
        for it in all_methods()
        if it.settings_from == TABLE_IX
    }
    assert listed == FROM_TABLE_IX


def test_the_command_lists_every_method() -> None:
    shown = CliRunner().invoke(app, ["methods"], env={"COLUMNS": "250"})
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.output.splitlines()]
    assert [line[0] for line in lines if line and line[0] in method_names()] == [it.name for it in all_methods()]
    assert ["vit_b16", "adamw", "6e-06", "0.3", "200", *TABLE_IX.split()] in lines


def test_model_card_names_the_publication() -> None:
    assert kind_in_words("cvt").startswith("Baseline: CvT-13 (Wu et al.")
    assert kind_in_words("pixel_regression").startswith("Control: ")
    assert candidate_in_words("baseline", "resnet18") == "baseline: resnet18 from timm."
    assert candidate_in_words("dcube", "dcube").startswith("dcube: a head on")
    assert candidate_in_words("untrained_uvit", "untrained_uvit").startswith("untrained_uvit: Control: ")
    assert kind_in_words("resnet18") == "Baseline: resnet18 from timm."
    assert kind_in_words("resnet18_probe") == "Baseline: a linear probe on the frozen resnet18 from timm."


# --- networks


@pytest.mark.parametrize("name", method_names())
def test_family_agrees_with_the_network(name: str) -> None:
    modules = [type(module).__name__ for module in unfilled(name, Task(3, 64, 3)).modules()]
    attends = any("attention" in module.lower() for module in modules)
    convolves = any(module.startswith("Conv2d") for module in modules)
    found = {
        "CNN": convolves and not attends,
        "Transformer": attends,
        "Foundation": attends and name.startswith(("radio", "medclip")),
        "Diffusion": name == "diffmic",
        "Control": name == "pixel_regression",
    }
    family = method(name).family
    assert family and found[family]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18_probe", "resnet18"])
def test_networks_of_timm_have_no_family(name: str) -> None:
    assert method(name).family is None


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_networks_have_the_published_size(name: str) -> None:
    network = unfilled(name, Task(classes=1000, image_size=224, channels=3))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(PUBLISHED_SIZES[name], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in method_names() if name not in TRAINED_IN_THEIR_OWN_WAY])
def test_one_step_trains_only_trainable_weights_and_survives_saving(name: str) -> None:
    """Shape, gradients, frozen parts and saving, in one test because large networks take seconds to build."""
    channels = 1 if method_names().index(name) % 2 else 3
    task, images = Task(classes=3, image_size=32, channels=channels), noise(3, channels, 32)
    network = build_method(name, task, NO_WEIGHTS).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    logits = network(images, ())
    assert logits.shape == (3, 3)
    nn.functional.cross_entropy(logits, torch.arange(3)).backward()
    for key, parameter in network.named_parameters():
        assert (parameter.grad is not None and parameter.grad.isfinite().all()) == parameter.requires_grad, key
    torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 1e-4, weight_decay=0.0).step()
    after = network.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    parameters = {key for key, _ in network.named_parameters()}
    assert changed & parameters <= trained(network)
    # An adapter's A has no gradient as long as its B is zero.
    trainable = [key for key, it in network.named_parameters() if it.requires_grad and "lora_A" not in key]
    assert {trainable[0], trainable[-1]} <= changed  # gradients reach the first layer
    for encoder in (module for module in network.modules() if isinstance(module, Frozen)):
        assert not any(module.training for module in encoder.modules())
    if name in (*PROBES, "radio_lora"):
        assert not any("encoder" in key or "base_layer" in key for key in changed)

    logits = network.eval()(images)
    kept = {key: tensor.clone() for key, tensor in after.items()}
    assert shapes(unfilled(name, task)) == {key: tensor.shape for key, tensor in kept.items()}
    for tensor in after.values():
        tensor.zero_()
    assert not torch.equal(network(images), logits)
    network.load_state_dict(kept)
    torch.testing.assert_close(network(images), logits)


@pytest.mark.parametrize("name", ["shufflenet_v2", "t2t_vit", "mit_b0", "pvt_v2_b0", "pvt_tiny", "pixel_regression"])
@pytest.mark.parametrize(("side", "channels"), [(64, 1), (96, 3)])
def test_methods_accept_other_sizes_and_channels(name: str, side: int, channels: int) -> None:
    network = build_method(name, Task(2, side, channels), NO_WEIGHTS).eval()
    images = noise(2, channels, side)
    out = network(images)
    assert out.shape == (2, 2)
    torch.testing.assert_close(network(images.flip(0)), out.flip(0), atol=1e-4, rtol=1e-4)


def test_probe_trains_one_layer_and_lora_trains_adapters() -> None:
    networks = {name: unfilled(name, Task(3, 64, 1)) for name in (*PROBES, "radio_lora")}
    for name in PROBES:
        assert trained(networks[name]) == {"probe.logits.weight", "probe.logits.bias"}
    names = trained(networks["radio_lora"])
    assert len(names) == 2 * 12 + 2
    assert all("attn.qkv.lora_" in key or ".head." in key for key in names)
    sizes = [p.numel() for p in networks["radio_lora"].parameters() if p.requires_grad]
    assert sum(sizes) == 12 * 8 * (768 + 3 * 768) + 3 * (768 + 1)


def test_any_network_of_timm_can_be_probed(tmp_path: Path) -> None:
    network = timm.create_model("vit_tiny_patch16_224")
    with torch.no_grad():
        network.head.bias.fill_(1e6)  # a probe must not use the classification layer
    weights = saved(dict(network.state_dict()), tmp_path / "weights.safetensors")
    probe = build_method("vit_tiny_patch16_224_probe", Task(3, 224, 1), weights).eval()
    assert trained(probe) == {"probe.logits.weight", "probe.logits.bias"}
    images = noise(2, 1, 224)
    pixels = images.expand(-1, 3, -1, -1).float().div(255).sub(0.5).div(0.5)
    expected = network.eval().forward_head(network.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(probe.encoder(images), expected)
    assert probe(images).shape == (2, 3)

    assert build_method("vit_small_patch14_dinov2_probe", Task(2, 56, 3), NO_WEIGHTS)(noise(2, 3, 56)).shape == (2, 2)
    with pytest.raises(DcubeError, match="timm has no network 'vit_nobody'"):
        build_method("vit_nobody_probe", Task(2, 56, 3), NO_WEIGHTS)


@pytest.mark.parametrize(
    ("unknown", "hint"),
    [
        ("resnet19", "choose another, such as resnet18, "),
        ("resnet_18", "choose another, such as resnet18, "),
        ("no such thing", "choose one that timm.list_models() returns"),
    ],
)
def test_unknown_network_is_refused_with_similar_names(unknown: str, hint: str) -> None:
    with pytest.raises(DcubeError, match=f"timm has no network '{unknown}': {re.escape(hint)}"):
        build_method(unknown, Task(2, 56, 3), NO_WEIGHTS)


def test_performer_approximates_softmax_attention() -> None:
    """With many random directions, the kernel attention approaches softmax attention."""
    torch.manual_seed(0)
    layer = TokenPerformer(12)
    layer.w = nn.Parameter(torch.randn(200_000, 64), requires_grad=False)
    nn.init.zeros_(layer.mlp[-1].weight)
    nn.init.zeros_(layer.mlp[-1].bias)
    layer.proj = nn.Identity()
    nn.init.normal_(layer.kqv.weight[: 2 * 64], std=0.06)
    x = torch.randn(1, 9, 12)
    keys, queries, values = layer.kqv(layer.norm1(x)).chunk(3, dim=-1)
    expected = (queries @ keys.transpose(1, 2)).softmax(dim=-1) @ values
    found = layer(x) - values
    assert (found - expected).abs().mean() < 0.02
    assert (values.mean(dim=1, keepdim=True) - expected).abs().mean() > 0.05  # uniform attention differs more


# --- weights


@pytest.mark.parametrize("name", [name for name in method_names() if name not in NOT_ON_THE_HUB])
def test_download_without_network_is_refused_with_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DcubeError, match=r"could not be fetched.*weights: file") as refused:
        build = build_method if name in OF_TRANSFORMERS else unfilled
        build(name, Task(3, 32, 1), Pretrained(weights="download"))
    assert "\n" not in str(refused.value)


def test_shufflenet_download_without_network_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(DcubeError, match=r"could not be fetched \(no route\)"):
        build_method("shufflenet_v2", Task(3, 32, 1), Pretrained(weights="download"))


def test_interrupted_download_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadTimeoutError(Exception):  # like the error of the hub's HTTP library, no OSError
        pass

    def broken(*_, **__):
        raise ReadTimeoutError("the read operation timed out")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", broken)
    with pytest.raises(DcubeError, match=r"could not be fetched \(the read operation timed out\)"):
        build_method("vit_b16", Task(3, 32, 1), Pretrained(weights="download"))


@pytest.mark.parametrize("name", ["t2t_vit", "medclip_probe"])
def test_pickled_weights_are_refused(name: str) -> None:
    with pytest.raises(DcubeError, match="as a pickle only"):
        build_method(name, Task(3, 32, 1), Pretrained(weights="download"))


@pytest.mark.parametrize("name", [name for name in method_names() if name not in UNPUBLISHED])
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    foreign = saved({"another.weight": torch.zeros(2, 2)}, tmp_path / "foreign.safetensors")
    build = build_method if name in (*OF_TRANSFORMERS, "imagenet_probe") else unfilled
    with pytest.raises(DcubeError, match=r"contains (few or )?no weights of"):
        build(name, Task(3, 32, 1), foreign)
    altered = foreign.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(DcubeError, match="has sha256"):
        build(name, Task(3, 32, 1), altered)


@pytest.mark.parametrize("name", ["shufflenet_v2", "t2t_vit", "pvt_v2_b0"])
def test_weights_file_fills_all_but_the_last_layer(name: str, tmp_path: Path) -> None:
    """The file has 1000 classes, as published files do."""
    original = build_method(name, Task(1000, 64, 3), NO_WEIGHTS).state_dict()
    inside = {key.removeprefix("network.network."): tensor for key, tensor in original.items()}
    loaded = build_method(name, Task(3, 64, 3), saved(inside, tmp_path / "w.safetensors")).state_dict()
    assert loaded.keys() == original.keys()
    differ = {key for key in loaded if not torch.equal(loaded[key], original[key])}
    assert {key.split(".")[-2] for key in differ} <= {"fc", "head"}
    assert len(differ) == 2


def test_weights_with_names_of_transformers_are_loaded(tmp_path: Path) -> None:
    """`save_pretrained` writes the names that published files have; positions of another size differ."""
    for name, side in (("mit_b0", 32), ("pvt_tiny", 64)):
        whole = build_method(name, Task(1000, 224, 3), NO_WEIGHTS)
        whole.network.network.network.save_pretrained(tmp_path / name)  # type: ignore[union-attr]
        published = load_file(tmp_path / name / "model.safetensors")
        loaded = build_method(name, Task(3, side, 3), saved(published, tmp_path / f"{name}.safetensors")).state_dict()
        differ = {key for key, tensor in whole.state_dict().items() if not torch.equal(tensor, loaded[key])}
        assert all("classifier" in key or "position_embeddings" in key for key in differ)
        assert len(differ) == {"mit_b0": 2, "pvt_tiny": 6}[name]


@pytest.mark.parametrize("name", ["t2t_vit", pytest.param("pit_b", marks=pytest.mark.slow)])
def test_position_embeddings_keep_their_place_when_resized(name: str, tmp_path: Path) -> None:
    """A mark in the corner of the grid is in the corner of the resized grid too."""
    key = "network.network.pos_embed"
    original = build_method(name, Task(1000, 224, 3), NO_WEIGHTS).state_dict()
    original[key].zero_()
    corner = original[key][:, 1] if name == "t2t_vit" else original[key][:, :, 0, 0]
    corner.fill_(100)
    inside = {it.removeprefix("network.network."): tensor for it, tensor in original.items()}
    loaded = build_method(name, Task(2, 448, 3), saved(inside, tmp_path / "weights.safetensors")).state_dict()[key]
    grid = loaded[0, 1:].T.unflatten(1, (28, 28)) if name == "t2t_vit" else loaded[0]
    assert grid[:, :2, :2].mean() > 50
    assert grid[:, 8:, 8:].abs().max() < 1


def test_medclip_is_loaded_from_its_published_names(tmp_path: Path) -> None:
    whole = build_method("medclip_probe", Task(2, 32, 1), NO_WEIGHTS)
    encoder = whole.encoder.network.network  # type: ignore[union-attr]
    encoder.model.save_pretrained(tmp_path / "swin")
    swin = load_file(tmp_path / "swin" / "model.safetensors")
    assert "encoder.layers.0.blocks.0.attention.self.query.weight" in swin
    published = {f"vision_model.model.{key}": tensor for key, tensor in swin.items()} | {
        "vision_model.projection_head.weight": encoder.projection_head.weight,
        "text_model.something": torch.zeros(3),
    }
    loaded = build_method("medclip_probe", Task(2, 32, 1), saved(published, tmp_path / "medclip.safetensors"))
    expected = whole.encoder.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.encoder.state_dict().items())


# --- learning


def two_classes() -> tuple[Tensor, Tensor]:
    """16 images (16, 1, 32, 32): a bright disc, small at the left or large at the right."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    labels = torch.arange(16) % 2
    images = torch.randint(0, 40, (16, 1, 32, 32), generator=generator)
    for image, label in zip(images, labels, strict=True):
        row, column = 16 + 2 * torch.randn(2, generator=generator)
        inside = (y - row) ** 2 + (x - column - (6 if label else -6)) ** 2 < (9 if label else 5) ** 2
        image[0][inside] += 180
    return images.to(torch.uint8), labels


RATES = {"radio_lora": 2e-3, "vit_b16": 1e-4, "pit_b": 1e-4, "cvt": 1e-3} | dict.fromkeys(
    (*PROBES, "pixel_regression"), 0.02
)


def settle(network: nn.Module, images: Tensor) -> None:
    """Set the statistics of batch normalisation from these images: after few steps the running ones lag behind."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network.train()(images)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in method_names() if name not in (*TRAINED_IN_THEIR_OWN_WAY, *LARGE)])
def test_every_method_overfits_a_few_images(name: str) -> None:
    torch.manual_seed(0)
    images, labels = two_classes()
    network = build_method(name, Task(2, 32, 1), NO_WEIGHTS)
    linear = name in (*PROBES, "pixel_regression")
    rate, steps = RATES.get(name, 3e-4), 200 if linear else 80
    if name in PROBES:  # the encoder is frozen, so its features can be computed once
        known = network.encoder(images)  # type: ignore[operator]
        network.encoder.forward = lambda _: known  # type: ignore[union-attr]
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], rate, weight_decay=0.0)
    for _ in range(steps):
        network.train()
        loss = nn.functional.cross_entropy(network(images), labels)
        if loss.item() < 0.02 and not linear:  # before the step: the next one can overshoot
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    if name in PROBES:
        del network.encoder.forward
    if name not in PROBES:
        settle(network, images)
    assert (network.eval()(images).argmax(dim=1) == labels).all(), f"{name}: loss {loss.item():.3f}"
