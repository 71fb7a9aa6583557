"""Job scripts for Slurm, as far as they can be checked without Slurm."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

SLURM = ROOT / "slurm"
SCRIPTS = sorted(SLURM.glob("*.sbatch"))
CONTINUES = ["--signal=B:USR1@90", "--requeue", "--open-mode=append"]


def options(script: Path) -> list[str]:
    """The `#SBATCH` options without names of the job and its log."""
    found = re.findall(r"^#SBATCH (.*)$", script.read_text(), re.MULTILINE)
    return [option for option in found if not option.startswith(("--job-name=", "--output="))]


@pytest.mark.parametrize("script", sorted(SLURM.iterdir()), ids=lambda path: path.name)
def test_script_parses(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_documented_options_are_those_of_the_scripts() -> None:
    page = (ROOT / "docs/how-to/slurm.md").read_text()
    rows = re.findall(r"^\| `sbatch slurm/(\S+?)[ `].*\| `(--.*)` \| (continues|ends) \|$", page, re.MULTILINE)
    assert {name: [*given.split(), *(CONTINUES if end == "continues" else [])] for name, given, end in rows} == {
        script.name: options(script) for script in SCRIPTS
    }


@pytest.mark.parametrize("name", ["repro", "torchrun"])
def test_job_is_requeued_at_its_limit_and_keeps_the_code_of_its_command(name: str, tmp_path: Path) -> None:
    (tmp_path / "slurm").symlink_to(SLURM)
    programs, log = tmp_path / ".venv/bin", tmp_path / "log.txt"
    programs.mkdir(parents=True)
    (programs / "activate").touch()
    for program, lines in {"srun": "echo begun >> log.txt; exec $DO", "scontrol": "echo $1 >> log.txt"}.items():
        (programs / program).write_text(f"#!/bin/sh\n{lines}\n")
        (programs / program).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(SLURM / f"{name}.sbatch"), "train_diffusion"]
    environment = os.environ | {"PATH": path, "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}
    assert subprocess.run(command, cwd=tmp_path, env=environment | {"DO": "false"}, check=False).returncode == 1
    log.unlink()
    job = subprocess.Popen(command, cwd=tmp_path, env=environment | {"DO": "sleep 60"}, start_new_session=True)
    try:
        wait_until(lambda: log.exists() and "begun" in log.read_text(), seconds=60)
        job.send_signal(signal.SIGUSR1)  # to the script alone, as --signal=B: does
        wait_until(lambda: "requeue" in log.read_text().split(), seconds=60)
        assert job.poll() is None, "Slurm ends it"
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
