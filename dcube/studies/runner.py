"""Runner that computes the trials of a study one after the other in one working copy, with DVC's cache of results.

Every trial becomes a DVC experiment. Its results are kept under a hash of its parameters, code and data, so that an
interrupted study continues.
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
from dcube.studies.trials import Trial, Variant, experiment_name, make_trial, settings_to_choose_from, variants
from dcube.tracking.mlflow_client import tracking_uri

RESULTS = ".dcube/studies"
LOG = "log.txt"
OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class StudyResults:
    """Results of a study.

    Attributes:
        by_variant: computed variant → one result per repeat.
        chosen: variant → settings chosen on validation.
        failures: title of a variant that could not be computed → reason.
    """

    by_variant: dict[Variant, list[Result]]
    chosen: dict[Variant, Settings]
    failures: dict[str, str]


class Runner:
    """Runner for the trials of one study on one data set.

    Args:
        name: name of the study.
        repository: repository whose last commit and present `data.dvc` the trials use.
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
        self._seconds: list[float] = []  # durations of the computed trials
        self._working_copy: Path | None = None

    def run(self) -> StudyResults:
        """Compute all trials. A failed row does not stop the others.

        Raises:
            DcubeError: if settings of a row do not fit together, if no working copy can be created, if another process
                computes this study, or if no row could be computed.
        """
        results = StudyResults({}, {}, {})
        self.first_trials()  # raises errors of settings before anything is computed
        lines = variants(self.study)
        with self._alone():
            for number, variant in enumerate(lines, 1):
                try:
                    results.chosen[variant] = self._choose(variant)
                    results.by_variant[variant] = [
                        self._result(trial) for trial in self._trials_of(variant, results.chosen[variant])
                    ]
                except DcubeError as error:
                    if self._working_copy is None:  # without a working copy, all other rows would fail too
                        raise
                    results.failures[variant.title] = str(error)
                    self.on_message(f"  {variant.title} failed: {error}")
                self.on_message(f"{number}/{len(lines)} rows{self._left_in_words(lines[number:])}")
        if not results.by_variant:
            raise DcubeError(f"no row of {self.name} could be computed; the last: {[*results.failures.values()][-1]}")
        return results

    def choices(self) -> dict[Variant, Settings]:
        """Return the settings chosen on validation for every variant; missing trials are computed first."""
        with self._alone():
            return {variant: self._choose(variant) for variant in variants(self.study)}

    def trials(self, chosen: dict[Variant, Settings]) -> list[Trial]:
        """Return all trials that the table is made from."""
        return [trial for variant in variants(self.study) for trial in self._trials_of(variant, chosen[variant])]

    def _trials_of(self, variant: Variant, chosen: Settings) -> list[Trial]:
        return [make_trial(self.study, self.base, variant, repeat, chosen) for repeat in range(self.study.repeats)]

    def first_trials(self) -> list[Trial]:
        """Return the trials that need no other results: one per choice of a row that has choices, else all."""
        return [trial for variant in variants(self.study) for trial in self._first_trials_of(variant)]

    def _first_trials_of(self, variant: Variant) -> list[Trial]:
        return [
            make_trial(self.study, self.base, variant, repeat, tried)
            for tried in settings_to_choose_from(self.study, self.base.data.name, variant.row)
            for repeat in range(1 if tried else self.study.repeats)
        ]

    def _left_in_words(self, ahead: Sequence[Variant]) -> str:
        """Estimate the time left from the mean time per trial. An open choice counts as its first value."""
        expected: dict[str, Trial] = {}
        for variant in ahead:
            first = self._first_trials_of(variant)
            expected |= {trial.key: trial for trial in (*first, *self._trials_of(variant, first[0].chosen))}
        unknown = sum(not self.has_result(trial) for trial in expected.values())
        if not unknown or not self._seconds:
            return ""
        return f", about {math.ceil(unknown * mean(self._seconds) / 60)} min left"

    def has_result(self, trial: Trial) -> bool:
        """Return whether the trial's results exist, computed with the present code and data."""
        return (self.store / trial.key).is_dir()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock this study in this repository during the block, and close its working copy at the end."""
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
        """Return the trial's result, and compute it in the study's working copy if it does not exist."""
        if not self.has_result(trial):
            if self._working_copy is None:
                name = f"study-{self.name}-{self.base.data.name}-{self.commit[:8]}"
                entered = workspace(self.repository, self.commit, name, trial.params.to_yaml(), self.data_record)
                self._working_copy = self._open.enter_context(entered)
                self.on_message(f"computing what is missing; what the stages print: {self.store / LOG}")
            self._compute(trial, self._working_copy)
        return Result.load(self.store / trial.key)

    def _choose(self, variant: Variant) -> Settings:
        """Return the settings with the best validation AUROC in the first repeat."""
        tried = list(settings_to_choose_from(self.study, self.base.data.name, variant.row))
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
            for file in [folder / file for file in self._files(trial)] + self._pictures(trial, folder):
                shutil.copyfile(file, kept / file.name)
        self._seconds.append(time.monotonic() - began)
        self.on_message(f"  {trial.title}: {self._seconds[-1]:.0f} s")

    def _files(self, trial: Trial) -> list[Path]:
        if self.study.report == "evaluation":
            folder = EVALUATION / trial.variant.row.model
            return [folder / METRICS_FILE, folder / PREDICTIONS]
        if self.study.report == "fid":
            return [FID / FID_REPORT]
        return [Path(file) for file in self.study.files]

    def _pictures(self, trial: Trial, folder: Path) -> list[Path]:
        if self.study.report != "evaluation":
            return []
        return sorted((folder / EVALUATION / trial.variant.row.model).glob("*.png"))

    def _reproduce(self, trial: Trial, folder: Path, shared: bool, experiment: str) -> None:
        """Run `dvc repro TARGET`, and write its output to a log."""
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
