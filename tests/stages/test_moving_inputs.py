"""A stage whose parameters, code or data are changed while it runs: DVC would record the old result with new inputs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dcube.config.schema import Params
from dcube.registry.staleness import stale_inputs, stale_results
from tests.support.small_pipeline import command

DVC_YAML = """
stages:
  train:
    cmd: python stage.py
    deps: [stage.py, code, data]
    params: [diffusion.epochs]
    outs: [outputs/model]
"""
STAGE = """
import os
import shutil
from pathlib import Path
from dcube.stages.process.running import params, run
from dcube.tracking.inputs import inputs_at_start

inputs_at_start()
exec(os.environ.get("ON_IMPORT", ""))

def main():
    epochs = params().diffusion.epochs
    exec(os.environ.get("MEANWHILE", ""))
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs/model").write_text(f"trained for {epochs} epochs")

run(main)
"""
EDIT = "Path('params.yaml').write_text(Path('params.yaml').read_text().replace('{}', '{}'))"
CHANGES = {
    "params.yaml: diffusion.epochs": EDIT.format("280", "5"),
    "code/loss.py": "Path('code/loss.py').write_text('weight = 2')",
    "code/new.py": "Path('code/new.py').write_text('')",
    "data/scans.bin": "Path('data/scans.bin').write_bytes(bytes(2_000_000))",
    "data/label.csv": "Path('data/label.csv').unlink()",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    files = {"dvc.yaml": DVC_YAML, "stage.py": STAGE, "params.yaml": Params().to_yaml(), "code/loss.py": "weight = 1"}
    for name, text in (files | {"data/label.csv": "a,b"}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "data/scans.bin").write_bytes(b"1" * 2_000_000)
    return tmp_path


def run(folder: Path, meanwhile: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MEANWHILE": meanwhile, "DVC_STAGE": "train"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("changed", CHANGES)
def test_stage_fails_when_its_inputs_change_while_it_runs(changed: str, checkout: Path) -> None:
    done = run(checkout, CHANGES[changed], "stage.py")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: train: {changed} changed while it ran")


@pytest.mark.parametrize("changed", ["params.yaml: diffusion.epochs", "code/loss.py"])
def test_stage_does_not_begin_when_inputs_change_during_import(changed, checkout, monkeypatch) -> None:
    """As with `git checkout other` and back: DVC would record inputs that the result was not made of."""
    file = changed.partition(":")[0]
    back = f"Path('{file}').write_text({(checkout / file).read_text()!r})"
    monkeypatch.setenv("ON_IMPORT", CHANGES[changed])
    done = run(checkout, back, "stage.py")
    assert done.returncode == 2 and f"error: train: {changed} changed while it ran" in done.stderr
    assert not (checkout / "outputs").exists(), "its work did not begin"


def test_code_that_changes_only_during_import_is_noticed(checkout, monkeypatch) -> None:
    back = f"Path('code/loss.py').write_text({(checkout / 'code/loss.py').read_text()!r})"
    monkeypatch.setenv("ON_IMPORT", f"{CHANGES['code/loss.py']}; {back}")
    done = run(checkout, "", "stage.py")
    assert done.returncode == 2 and "error: train: code/loss.py changed while it ran" in done.stderr


def test_parameters_are_read_once_at_start(checkout: Path) -> None:
    """params.yaml changes after the start, before the stage uses its parameters, and is restored later."""
    (checkout / "stage.py").write_text(
        STAGE.replace("    epochs =", f"    {CHANGES['params.yaml: diffusion.epochs']}\n    epochs =")
    )
    text = (checkout / "params.yaml").read_text()
    done = run(checkout, f"Path('params.yaml').write_text({text!r})", "stage.py")
    assert done.returncode == 0, done.stderr
    assert (checkout / "outputs/model").read_text() == "trained for 280.0 epochs"


@pytest.mark.parametrize(
    "harmless",
    [
        EDIT.format("patience: 5", "patience: 6"),
        "Path('code/loss.py').touch(); Path('code/__pycache__').mkdir(); Path('code/__pycache__/a.pyc').touch()",
    ],
)
def test_inputs_that_a_stage_does_not_read_may_change(harmless: str, checkout: Path) -> None:
    done = run(checkout, harmless, "stage.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_dvc_records_no_result_of_changed_inputs(checkout: Path) -> None:
    command(checkout, "git", "init", "--quiet")
    command(checkout, sys.executable, "-m", "dvc", "init", "--quiet")
    done = run(checkout, CHANGES["params.yaml: diffusion.epochs"], "-m", "dvc", "repro")
    assert done.returncode and not (checkout / "dvc.lock").exists()
    assert "epochs: 5" in (checkout / "params.yaml").read_text()
    run(checkout, "", "-m", "dvc", "repro")  # with the new value: computed, not restored
    recorded = yaml.safe_load((checkout / "dvc.lock").read_text())["stages"]["train"]["params"]["params.yaml"]
    assert recorded == {"diffusion.epochs": 5}
    assert (checkout / "outputs/model").read_text() == "trained for 5.0 epochs"


@pytest.fixture
def versioned(checkout: Path) -> Path:
    """The checkout with an older commit (7 epochs) and a branch `other` (5 epochs)."""

    def commit(epochs: str) -> None:
        (checkout / "params.yaml").write_text(Params().to_yaml().replace("epochs: 280", f"epochs: {epochs}", 1))
        command(checkout, "git", "add", ".")
        command(checkout, "git", "commit", "--quiet", "--message", epochs)

    command(checkout, "git", "init", "--quiet", "--initial-branch=main")
    command(checkout, sys.executable, "-m", "dvc", "init", "--quiet")
    commit("7")
    command(checkout, "git", "branch", "other")
    commit("280")
    command(checkout, "git", "switch", "--quiet", "other")
    commit("5")
    command(checkout, "git", "switch", "--quiet", "main")
    return checkout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edited", "words"),
    [
        (False, "git switch --quiet other"),
        (True, "git stash --quiet"),
        (False, "git checkout --quiet HEAD~1 -- params.yaml"),
        (False, "git reset --quiet --hard HEAD~1"),
    ],
)
def test_no_result_of_one_revision_is_recorded_for_another(edited: bool, words: str, versioned: Path) -> None:
    if edited:
        (versioned / "params.yaml").write_text(
            (versioned / "params.yaml").read_text().replace("epochs: 280", "epochs: 9")
        )
    done = run(versioned, f"import subprocess; subprocess.run({words.split()!r}, check=True)", "-m", "dvc", "repro")
    assert done.returncode and "params.yaml: diffusion.epochs changed while it ran" in done.stderr
    assert not (versioned / "dvc.lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", ["git worktree add --quiet ../beside other", "dvc gc --workspace --force"])
def test_commands_that_change_no_input_may_run_beside_a_stage(words: str, versioned: Path) -> None:
    program = [sys.executable, "-m", *words.split()] if words.startswith("dvc") else words.split()
    done = run(versioned, f"import subprocess; subprocess.run({program!r}, check=True)", "-m", "dvc", "repro")
    assert done.returncode == 0, done.stderr
    recorded = yaml.safe_load((versioned / "dvc.lock").read_text())["stages"]["train"]["params"]["params.yaml"]
    assert recorded == {"diffusion.epochs": 280}
    assert (versioned / "outputs/model").read_text() == "trained for 280.0 epochs"


@pytest.fixture(scope="module")
def registered_template(tmp_path_factory) -> Path:
    """Two stages that DVC has recorded, and one that registers what they made."""
    folder = tmp_path_factory.mktemp("registered")
    stages = """
stages:
  prepare: {cmd: cp -r data prepared, deps: [data], params: [data.seed], outs: [prepared]}
  train: {cmd: cp code/loss.py model, deps: [prepared, code], params: [diffusion], outs: [model]}
  register: {cmd: 'true', deps: [model, prepared/label.csv], params: [data.name]}
"""
    files = {"dvc.yaml": stages, "params.yaml": Params().to_yaml().replace("0.0001", "1e-4"), "data/label.csv": "a,b"}
    for name, text in (files | {"code/loss.py": "1", "code/a/b.py": "2", "code/a.py": "3"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    command(folder, "git", "init", "--quiet")
    command(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    command(folder, sys.executable, "-m", "dvc", "add", "--quiet", "data")
    command(folder, sys.executable, "-m", "dvc", "repro", "--quiet")
    return folder


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (("params.yaml", "patience: 5", "patience: 6"), "params.yaml: diffusion.patience"),
        (("code/a/b.py", "2", "4"), "code"),
        (("data.dvc", "md5: ", "md5: 0"), "data"),
        (
            (
                "dvc.lock",
                "path: prepared\n      hash: md5\n      md5: ",
                "path: prepared\n      hash: md5\n      md5: 0",
            ),
            "prepared",
        ),
        (("model", "1", "of another branch"), "model"),
        (("params.yaml", "patience: 5", "patience: 5"), None),
    ],
)
def test_results_of_other_inputs_are_not_registered(changed, name, registered_template, tmp_path, monkeypatch) -> None:
    folder = shutil.copytree(registered_template, tmp_path / "copy")
    monkeypatch.chdir(folder)
    file, old, new = changed
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new, 1))
    if name is None:
        assert list(stale_results(Path())) == list(stale_inputs("register", Params())) == []
        return
    replaced = changed[0] in ("model", "dvc.lock")
    other, older = f"{name}: not as dvc.lock records", f"{name} changed after the results were made of it"
    assert next(stale_results(Path())).startswith(other if replaced else older)
    assert next(stale_inputs("register", Params())).startswith(other if file == "model" else older)


def test_results_without_a_dvc_lock_are_not_registered(registered_template, tmp_path, monkeypatch) -> None:
    """`git stash -u` takes a new dvc.lock away, an older commit has none: the files are of another revision."""
    monkeypatch.chdir(shutil.copytree(registered_template, tmp_path / "copy"))
    Path("dvc.lock").unlink()
    assert next(stale_results(Path())).startswith("model, prepared/label.csv: not as dvc.lock records")
    assert next(stale_inputs("register", Params())).startswith("model: not as dvc.lock records")


@pytest.mark.slow
def test_experiment_in_a_temporary_copy_uses_the_database_of_the_project(checkout: Path) -> None:
    """DVC deletes the copy of `dvc exp run --temp` or `--queue`: a database in it would be lost."""
    (checkout / "stage.py").write_text("from dcube.tracking.mlflow_client import tracking_uri\nprint(tracking_uri())\n")
    command(checkout, "git", "init", "--quiet")
    command(checkout, sys.executable, "-m", "dvc", "init", "--quiet")
    stages = "stages:\n  ask: {cmd: python stage.py > uri, deps: [stage.py], params: [diffusion], outs: [uri]}\n"
    (checkout / "dvc.yaml").write_text(stages)
    command(checkout, "git", "add", "--all")
    command(checkout, "git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", "A state")
    done = run(checkout, "", "-m", "dvc", "exp", "run", "--temp", "--name", "elsewhere")
    assert done.returncode == 0, done.stderr
    run(checkout, "", "-m", "dvc", "exp", "apply", "elsewhere")
    assert (checkout / "uri").read_text().strip() == f"sqlite:///{checkout}/mlflow.db"
