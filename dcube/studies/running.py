"""Computes the cells of a study one after the other in one working copy; what DVC knows already is computed no more.

Every cell becomes a DVC experiment. Its results are kept under a hash of its parameters and of the code and data that
it was computed with, so that a study that was cut off goes on where it was.
"""

import hashlib
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from filelock import FileLock, Timeout

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import EVALUATION, FID, FID_REPORT, METRICS_FILE, PREDICTIONS
from dcube.config.schema import Params
from dcube.errors import DcubeError, error_told
from dcube.repository.workspace import DATA_RECORD, commit_of, git, has_remote, push_results, save_experiment, workspace
from dcube.runtime.processes import own_code_first, process_group
from dcube.studies.cells import Cell, Place, candidates, cell, experiment_name, places
from dcube.studies.results import Result
from dcube.studies.study import Settings, Study

RESULTS = ".dcube/studies"
LOG = "log.txt"
DVC_ERROR = "ERROR: "
Told = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    results: of every place that was computed, a result a repeat.
    chosen: what validation has chosen there.
    failures: cells that could not be computed, and why.
    """

    results: dict[Place, list[Result]]
    chosen: dict[Place, Settings]
    failures: dict[str, str]


class Runner:
    """Computes cells of one study over one data set.

    Args:
        name: of the study.
        repository: whose last commit, and whose record of the data, the cells are computed with.
    """

    def __init__(self, name: str, study: Study, base: Params, repository: Path, tell: Told = print) -> None:
        self.name, self.study, self.base, self.repository, self.tell = name, study, base, repository, tell
        self.commit = commit_of(repository, "HEAD")
        record = repository / DATA_RECORD
        self.data_record = record.read_bytes() if record.exists() else None
        code = git(repository, "ls-tree", self.commit, "--", "dcube", "dvc.yaml")
        version = hashlib.sha256(repr((code, self.data_record)).encode()).hexdigest()[:12]
        self.store = repository / RESULTS / f"{base.data.name}-{version}"
        self._open = ExitStack()
        self._seconds: list[float] = []  # of every cell that was computed
        self._working_copy: Path | None = None

    def run(self) -> Outcome:
        """All cells, each once; a cell that fails keeps no other one from being computed.

        Raises:
            DcubeError: settings of a row do not fit together, there is no working copy to compute in, or no row at all
                could be computed.
        """
        outcome = Outcome({}, {}, {})
        self.first_cells()  # raises before anything is computed
        lines = places(self.study)
        with self._alone():
            for number, place in enumerate(lines, 1):
                try:
                    outcome.chosen[place] = self._choose(place)
                    outcome.results[place] = [
                        self._result(made) for made in self._cells_of(place, outcome.chosen[place])
                    ]
                except DcubeError as error:
                    if self._working_copy is None:  # no other row could be computed either
                        raise
                    outcome.failures[place.title] = str(error)
                    self.tell(f"  {place.title} failed: {error}")
                self.tell(f"{number}/{len(lines)} rows{self._left_in_words(lines[number:])}")
        if not outcome.results:
            raise DcubeError(f"no row of {self.name} could be computed; the last: {[*outcome.failures.values()][-1]}")
        return outcome

    def choices(self) -> dict[Place, Settings]:
        """What validation has chosen in every row, once the first cells are known."""
        with self._alone():
            return {place: self._choose(place) for place in places(self.study)}

    def cells(self, chosen: dict[Place, Settings]) -> list[Cell]:
        """All that the table is made from."""
        return [made for place in places(self.study) for made in self._cells_of(place, chosen[place])]

    def _cells_of(self, place: Place, chosen: Settings) -> list[Cell]:
        return [cell(self.study, self.base, place, repeat, chosen) for repeat in range(self.study.repeats)]

    def first_cells(self) -> list[Cell]:
        """What can be computed before anything is known: of a row with a choice, what the choice is made from."""
        return [made for place in places(self.study) for made in self._first_cells_of(place)]

    def _first_cells_of(self, place: Place) -> list[Cell]:
        return [
            cell(self.study, self.base, place, repeat, tried)
            for tried in candidates(self.study, self.base.data.name, place.row)
            for repeat in range(1 if tried else self.study.repeats)
        ]

    def _left_in_words(self, ahead: Sequence[Place]) -> str:
        """By the mean time of the cells so far; of a choice that is open yet, as if its first candidate were taken."""
        expected: dict[str, Cell] = {}
        for place in ahead:
            first = self._first_cells_of(place)
            expected |= {made.key: made for made in (*first, *self._cells_of(place, first[0].chosen))}
        unknown = sum(not self.knows(made) for made in expected.values())
        if not unknown or not self._seconds:
            return ""
        return f", about {math.ceil(unknown * mean(self._seconds) / 60)} min left"

    def knows(self, made: Cell) -> bool:
        """Whether its results are here, computed with this code and data."""
        return (self.store / made.key).is_dir()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process computes this study of this repository meanwhile; its working copy is gone at the end."""
        lock = FileLock(self.store.parent / f"{self.name}-{self.base.data.name}.lock", timeout=0)
        self.store.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise DcubeError(
                f"another process computes {self.name} on {self.base.data.name} in {self.repository}: wait for its end,"
                " or use another clone"
            ) from None
        try:
            with ExitStack() as self._open:
                yield
        finally:
            self._working_copy = None
            lock.release()

    def _result(self, made: Cell) -> Result:
        """The cell's result, computed in the study's working copy where it is not known."""
        if not self.knows(made):
            if self._working_copy is None:
                name = f"study-{self.name}-{self.base.data.name}-{self.commit[:8]}"
                entered = workspace(self.repository, self.commit, name, made.params.to_yaml(), self.data_record)
                self._working_copy = self._open.enter_context(entered)
            self._compute(made, self._working_copy)
        return Result.load(self.store / made.key)

    def _choose(self, place: Place) -> Settings:
        """The candidate with the best validation AUROC, judged by the first repeat."""
        tried = list(candidates(self.study, self.base.data.name, place.row))
        if len(tried) == 1:
            return tried[0]
        results = [self._result(cell(self.study, self.base, place, 0, one)) for one in tried]
        judged = [result.validation["auroc"] for result in results]
        return tried[judged.index(max(judged))]

    def _compute(self, made: Cell, folder: Path) -> None:
        began, shared = time.monotonic(), has_remote(folder)
        experiment = experiment_name(self.name, self.base.data.name, made)
        (folder / "params.yaml").write_text(made.params.to_yaml(), encoding="utf-8")
        self._reproduce(made, folder, shared, experiment)
        missing = [str(file) for file in self._files(made) if not (folder / file).exists()]
        if missing:
            raise DcubeError(f"{made.target} has not written what the study reports: {', '.join(missing)}")
        save_experiment(self.repository, folder, experiment, [made.target])
        if shared:
            push_results(folder)
        with atomic_folder(self.store / made.key) as kept:
            for file in self._files(made):
                shutil.copyfile(folder / file, kept / file.name)
        self._seconds.append(time.monotonic() - began)
        self.tell(f"  {made.title}: {self._seconds[-1]:.0f} s")

    def _files(self, made: Cell) -> list[Path]:
        if self.study.report == "evaluation":
            folder = EVALUATION / made.place.row.model
            return [folder / METRICS_FILE, folder / PREDICTIONS]
        if self.study.report == "fid":
            return [FID / FID_REPORT]
        return [Path(file) for file in self.study.files]

    def _reproduce(self, made: Cell, folder: Path, shared: bool, experiment: str) -> None:
        """`dvc repro TARGET`; what the stages print goes to a log."""
        command = [sys.executable, "-m", "dvc", "repro", *(["--pull"] if shared else []), made.target]
        environment = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.repository / 'mlflow.db'}",
            **os.environ,
            **own_code_first(folder),
            "DVC_NO_ANALYTICS": "1",
            "DCUBE_PIPELINE": experiment,
        }
        log = self.store / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(f"\n=== {made.title}\n".encode())
            file.flush()
            start = file.tell()
            with process_group(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT) as process:
                failed = process.wait()
        if failed:
            with log.open("rb") as file:
                file.seek(start)
                raise DcubeError(f"{_reason(file.read().decode(errors='replace'))} (all of it: {log})")


def _reason(output: str) -> str:
    """The stage's own last error line; else its last line before DVC's; else DVC's last error line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if told := error_told(lines):
        return told
    of_dvc = [line.removeprefix(DVC_ERROR) for line in lines if line.startswith(DVC_ERROR)]
    own = [line for line in lines if not line.startswith(DVC_ERROR)]
    if own and any("exited with" in line for line in of_dvc):
        return own[-1]
    return (of_dvc or lines or ["it ended without a word"])[-1]
