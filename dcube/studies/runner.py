"""Computes the trials of a study one after the other in one working copy; what DVC knows is not computed again.

Every trial becomes a DVC experiment. Its results are kept under a hash of its parameters and of the code and data that
it was computed with, so that a study that was cut off goes on where it was.
"""

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from filelock import FileLock, Timeout

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import (
    DATA_RECORD,
    EVALUATION,
    FID,
    FID_REPORT,
    GRAPH,
    METRICS_FILE,
    PARAMS,
    PREDICTIONS,
)
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.repository.commands import commit_of, git
from dcube.repository.data_remote import push_results
from dcube.repository.dvc_internals import has_remote
from dcube.repository.experiments import save_experiment
from dcube.repository.repro import repro
from dcube.repository.workspace import workspace
from dcube.runtime.settings import variable_of
from dcube.studies.results import Result
from dcube.studies.study import Settings, Study
from dcube.studies.trials import Trial, Variant, candidates, experiment_name, make_trial, variants
from dcube.tracking.mlflow_client import tracking_uri

RESULTS = ".dcube/studies"
LOG = "log.txt"
OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class StudyResults:
    """Attributes:
    by_variant: of every variant that was computed, a result a repeat.
    chosen: what validation has chosen there.
    failures: trials that could not be computed, and why.
    """

    by_variant: dict[Variant, list[Result]]
    chosen: dict[Variant, Settings]
    failures: dict[str, str]


class Runner:
    """Computes trials of one study over one data set.

    Args:
        name: of the study.
        repository: whose last commit, and whose record of the data, the trials are computed with.
    """

    def __init__(self, name: str, study: Study, base: Params, repository: Path, on_message: OnMessage = print) -> None:
        self.name, self.study, self.base, self.repository, self.on_message = name, study, base, repository, on_message
        self.commit = commit_of(repository, "HEAD")
        record = repository / DATA_RECORD
        self.data_record = record.read_bytes() if record.exists() else None
        code = git(repository, "ls-tree", self.commit, "--", "dcube", GRAPH)
        version = hashlib.sha256(repr((code, self.data_record)).encode()).hexdigest()[:12]
        self.store = repository / RESULTS / f"{base.data.name}-{version}"
        self._open = ExitStack()
        self._seconds: list[float] = []  # of every trial that was computed
        self._working_copy: Path | None = None

    def run(self) -> StudyResults:
        """All trials, each once; one that fails does not stop the others.

        Raises:
            DcubeError: settings of a row do not fit together, there is no working copy to compute in, or no row at all
                could be computed.
        """
        results = StudyResults({}, {}, {})
        self.first_trials()  # raises before anything is computed
        lines = variants(self.study)
        with self._alone():
            for number, variant in enumerate(lines, 1):
                try:
                    results.chosen[variant] = self._choose(variant)
                    results.by_variant[variant] = [
                        self._result(trial) for trial in self._trials_of(variant, results.chosen[variant])
                    ]
                except DcubeError as error:
                    if self._working_copy is None:  # no other row could be computed either
                        raise
                    results.failures[variant.title] = str(error)
                    self.on_message(f"  {variant.title} failed: {error}")
                self.on_message(f"{number}/{len(lines)} rows{self._left_in_words(lines[number:])}")
        if not results.by_variant:
            raise DcubeError(f"no row of {self.name} could be computed; the last: {[*results.failures.values()][-1]}")
        return results

    def choices(self) -> dict[Variant, Settings]:
        """What validation has chosen in every row, once the first trials are known."""
        with self._alone():
            return {variant: self._choose(variant) for variant in variants(self.study)}

    def trials(self, chosen: dict[Variant, Settings]) -> list[Trial]:
        """All that the table is made from."""
        return [trial for variant in variants(self.study) for trial in self._trials_of(variant, chosen[variant])]

    def _trials_of(self, variant: Variant, chosen: Settings) -> list[Trial]:
        return [make_trial(self.study, self.base, variant, repeat, chosen) for repeat in range(self.study.repeats)]

    def first_trials(self) -> list[Trial]:
        """What can be computed before anything is known: of a row with a choice, what the choice is made from."""
        return [trial for variant in variants(self.study) for trial in self._first_trials_of(variant)]

    def _first_trials_of(self, variant: Variant) -> list[Trial]:
        return [
            make_trial(self.study, self.base, variant, repeat, tried)
            for tried in candidates(self.study, self.base.data.name, variant.row)
            for repeat in range(1 if tried else self.study.repeats)
        ]

    def _left_in_words(self, ahead: Sequence[Variant]) -> str:
        """By the mean time of the trials so far; of a choice that is open yet, as if its first candidate were taken."""
        expected: dict[str, Trial] = {}
        for variant in ahead:
            first = self._first_trials_of(variant)
            expected |= {trial.key: trial for trial in (*first, *self._trials_of(variant, first[0].chosen))}
        unknown = sum(not self.has_result(trial) for trial in expected.values())
        if not unknown or not self._seconds:
            return ""
        return f", about {math.ceil(unknown * mean(self._seconds) / 60)} min left"

    def has_result(self, trial: Trial) -> bool:
        """Whether its results are here, computed with this code and data."""
        return (self.store / trial.key).is_dir()

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

    def _result(self, trial: Trial) -> Result:
        """The trial's result, computed in the study's working copy where it is not known."""
        if not self.has_result(trial):
            if self._working_copy is None:
                name = f"study-{self.name}-{self.base.data.name}-{self.commit[:8]}"
                entered = workspace(self.repository, self.commit, name, trial.params.to_yaml(), self.data_record)
                self._working_copy = self._open.enter_context(entered)
            self._compute(trial, self._working_copy)
        return Result.load(self.store / trial.key)

    def _choose(self, variant: Variant) -> Settings:
        """The candidate with the best validation AUROC, judged by the first repeat."""
        tried = list(candidates(self.study, self.base.data.name, variant.row))
        if len(tried) == 1:
            return tried[0]
        results = [self._result(make_trial(self.study, self.base, variant, 0, one)) for one in tried]
        judged = [result.validation["auroc"] for result in results]
        return tried[judged.index(max(judged))]

    def _compute(self, trial: Trial, folder: Path) -> None:
        began, shared = time.monotonic(), has_remote(folder)
        experiment = experiment_name(self.name, self.base.data.name, trial)
        (folder / PARAMS).write_text(trial.params.to_yaml(), encoding="utf-8")
        self._reproduce(trial, folder, shared, experiment)
        missing = [str(file) for file in self._files(trial) if not (folder / file).exists()]
        if missing:
            raise DcubeError(f"{trial.target} has not written what the study reports: {', '.join(missing)}")
        save_experiment(self.repository, folder, experiment, [trial.target])
        if shared:
            push_results(folder)
        with atomic_folder(self.store / trial.key) as kept:
            for file in self._files(trial):
                shutil.copyfile(folder / file, kept / file.name)
        self._seconds.append(time.monotonic() - began)
        self.on_message(f"  {trial.title}: {self._seconds[-1]:.0f} s")

    def _files(self, trial: Trial) -> list[Path]:
        if self.study.report == "evaluation":
            folder = EVALUATION / trial.variant.row.model
            return [folder / METRICS_FILE, folder / PREDICTIONS]
        if self.study.report == "fid":
            return [FID / FID_REPORT]
        return [Path(file) for file in self.study.files]

    def _reproduce(self, trial: Trial, folder: Path, shared: bool, experiment: str) -> None:
        """`dvc repro TARGET`; what the stages print goes to a log."""
        variables = {variable_of("tracking_uri"): tracking_uri(self.repository), variable_of("pipeline"): experiment}
        log = self.store / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", buffering=1) as file:
            print(f"\n=== {trial.title}", file=file)
            result = repro(
                trial.target, folder, ["--pull"] if shared else [], variables, on_line=partial(print, file=file)
            )
        if result.failed:
            raise DcubeError(f"{result.reason} (full log: {log})")
