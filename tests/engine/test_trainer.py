"""The shared training loop and its checkpoints: kills, damaged files, weights of other networks."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dcube.artifacts.schemas.diffusion import DiffusionConfig
from dcube.artifacts.weights import load_into, load_weights, save_weights
from dcube.config.schema import Classifier, Diffusion
from dcube.engine.checkpoints import Checkpoints, training_key
from dcube.engine.trainer import STEPS_PER_ROW, Trainer, validations
from dcube.errors import DcubeError
from tests.support.regression import STEPS, Killed, assert_same, damage, fit


@pytest.mark.parametrize("deaths", [[1], [21], [50, 51], [99], [30, 60, 90]])
def test_resumed_training_is_bit_identical(tmp_path: Path, deaths: list[int], monkeypatch) -> None:
    monkeypatch.setenv("DCUBE_CHECKPOINT_SECONDS", "0")
    undisturbed = fit(tmp_path / "undisturbed")
    for step in deaths:
        with pytest.raises(Killed):
            fit(tmp_path / "killed", die_at=step)
    assert_same(fit(tmp_path / "killed"), undisturbed)


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = fit(tmp_path)
    assert_same(fit(tmp_path, die_at=0), first)


def test_training_improves_and_reports_every_row_once(tmp_path: Path) -> None:
    rows: list[dict] = []
    trainer = fit(tmp_path, rows=rows).trainer
    assert len(rows) == len({(row["step"], "loss" in row) for row in rows})
    assert {r["step"] for r in rows if "loss" in r} == set(range(STEPS_PER_ROW, STEPS + 1, STEPS_PER_ROW)) | {
        25,
        50,
        75,
        100,
    }
    assert trainer.state.validation[-1]["score"] > trainer.state.validation[0]["score"]


def test_patience_stops_training_and_keeps_the_first_best_step(tmp_path: Path) -> None:
    trainer = fit(tmp_path, patience=2).trainer
    assert [row["step"] for row in trainer.state.validation] == [25, 50, 75]
    assert trainer.state.best_step == 25


@pytest.mark.parametrize(("scores", "best"), [((9.0, 1.0, 2.0), 75), ((9.0, 8.0, 0.0), 50)])
def test_weights_of_the_warm_up_are_not_selected_as_best(tmp_path: Path, scores: tuple[float, ...], best: int) -> None:
    model, left = nn.Linear(1, 1), iter(scores)
    trainer = Trainer(model, Classifier(), Checkpoints(tmp_path, "k"), warmup_steps=50)
    trainer.fit("Toy", 75, lambda step: {"loss": model(torch.ones(1, 1)).sum()}, lambda m, s: {"score": next(left)}, 25)
    assert trainer.state.best_step == best


@pytest.mark.parametrize(("steps", "every"), [(60, 25), (50, 25), (10, 25), (3, 1)])
def test_number_of_validations_equals_the_planned_number(tmp_path: Path, steps: int, every: int) -> None:
    model = nn.Linear(1, 1)
    trainer = Trainer(model, Classifier(), Checkpoints(tmp_path, "k"))
    trainer.fit("Toy", steps, lambda step: {"loss": model(torch.ones(1, 1)).sum()}, lambda m, s: {"score": 0.0}, every)
    assert len(trainer.state.validation) == validations(steps, every)


def test_training_that_ends_in_warm_up_keeps_its_last_weights(tmp_path: Path) -> None:
    model, left = nn.Linear(1, 1), iter((2.0, 1.0))
    trainer = Trainer(model, Classifier(), Checkpoints(tmp_path, "k"), warmup_steps=100)
    trainer.fit("Toy", 50, lambda step: {"loss": model(torch.ones(1, 1)).sum()}, lambda m, s: {"score": next(left)}, 25)
    assert trainer.state.best_step == 50


def test_nonfinite_loss_stops_training_with_a_hint(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    trainer = Trainer(model, Classifier(), Checkpoints(tmp_path, "k"))
    with pytest.raises(DcubeError, match="NaN or infinite at step 20: lower the learning rate"):
        trainer.fit(
            "Toy",
            40,
            lambda step: {"loss": model(torch.ones(1, 1)).sum() * float("nan")},
            lambda m, s: {"score": 0.0},
            40,
        )


# --- checkpoints


def test_short_training_is_saved_at_its_end_instead_of_at_every_validation(tmp_path: Path) -> None:
    """On a tiny data set each step is an epoch, and a checkpoint of a large network takes longer than that."""
    fit(tmp_path)
    assert [file.name for file in tmp_path.rglob("*.safetensors")] == [f"step-{STEPS:09d}.safetensors"]
    assert_same(fit(tmp_path, die_at=0), fit(tmp_path / "again"))


def saved(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path, "key")
    for step in (1, 2, 3):
        checkpoints.save(step, {"w": torch.full((1000,), float(step))}, {"note": step})
    return checkpoints


def test_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    assert [p.name for p in sorted(checkpoints.folder.glob("*.safetensors"))] == [
        "step-000000002.safetensors",
        "step-000000003.safetensors",
    ]
    tensors, state = checkpoints.latest()  # type: ignore[misc]
    assert (tensors["w"][0].item(), state) == (3.0, {"note": 3, "step": 3})


@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_damaged_checkpoint_falls_back_to_the_previous_one(tmp_path: Path, how: str, caplog) -> None:
    checkpoints = saved(tmp_path)
    damage(checkpoints.folder / "step-000000003.safetensors", how)
    _, state = checkpoints.latest()  # type: ignore[misc]
    assert state["step"] == 2
    assert "step-000000003.safetensors is damaged" in caplog.text
    damage(checkpoints.folder / "step-000000002.safetensors", how)
    with pytest.raises(DcubeError, match=r"all checkpoints in .* are damaged: remove that folder"):
        checkpoints.latest()


def test_checkpoint_without_checksum_is_ignored(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    (checkpoints.folder / "step-000000003.sha256").unlink()
    (checkpoints.folder / ".step-000000004.safetensors.partial").write_bytes(b"half")
    assert checkpoints.latest()[1]["step"] == 2  # type: ignore[index]


def test_training_key_depends_on_all_its_inputs() -> None:
    def key(**changes) -> str:
        values = {"stage": "s", "params": {"a": 1}, "inputs": ["data"], "packages": ["diffusion"], **changes}
        return training_key(**values)

    assert key() == key()
    others = [key(stage="t"), key(params={"a": 2}), key(inputs=["other"]), key(packages=["diffusion", "engine"])]
    assert len({key(), *others}) == 5


# --- published weights


CONFIG = {
    "diffusion": Diffusion(), "image_size": 16, "best_step": 1, "channels": 1, "classes": ["ill", "well"],
    "data_fingerprint": "f",
}  # fmt: skip


def test_saved_weights_are_read_back_and_damaged_ones_refused(tmp_path: Path) -> None:
    save_weights(tmp_path, {"a": torch.arange(5.0)}, DiffusionConfig(**CONFIG))
    tensors, config = load_weights(tmp_path, DiffusionConfig)
    assert torch.equal(tensors["a"], torch.arange(5.0))
    assert config.classes == ["ill", "well"]
    with pytest.raises(DcubeError, match="weights of another network"):
        load_into(nn.Linear(2, 2), tensors, tmp_path)
    damage(tmp_path / "model.safetensors", "flipped")
    with pytest.raises(DcubeError, match="is damaged"):
        load_weights(tmp_path, DiffusionConfig)
    with pytest.raises(DcubeError, match="missing: run `dvc repro train_diffusion`"):
        load_weights(tmp_path / "nowhere", DiffusionConfig)
