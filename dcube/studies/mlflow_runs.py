"""Runs of a study in MLflow: one run for each line of its table, with one child run for each repeat.

Existing runs are not logged again: a study that is computed again or with more repeats only adds what is new.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dcube.artifacts.candidates import ON_DIFFUSION_FEATURES
from dcube.artifacts.checksums import hashes_of
from dcube.classifier.recipe import recipe_of
from dcube.config.loading import flattened
from dcube.config.schema import Params
from dcube.registry.candidate_run import (
    USES,
    ending,
    groups_behind,
    log_evaluation,
    log_metrics,
    shown_params,
)
from dcube.registry.versions import evaluation_artifacts
from dcube.studies.output import MARKDOWN
from dcube.studies.results import Result
from dcube.studies.table import Line, StudyTable
from dcube.studies.trials import Trial, make_trial
from dcube.tracking import lineage, tags
from dcube.tracking.batches import milliseconds, send_datasets, send_params
from dcube.tracking.datasets import entity_of
from dcube.tracking.mlflow_client import experiment_called, runs_of, tracking_client

OF_IMAGES = {"data", "diffusion", "fid"}  # parameter groups that define generated images and their distances


def log(table: StudyTable, base: Params, folder: Path) -> str:
    """Log everything that MLflow does not have yet: lines with settings and means, repeats, and a run with the tables.

    Args:
        folder: folder with the tables, written by `dcube.studies.output.write`.

    Returns:
        The name of the experiment.
    """
    name = f"dcube-study/{table.name}/{table.data}"
    runs = StudyRuns(name, table, base)
    for line in table.lines:
        runs.log_line(line)
    runs.log_tables(folder)
    return name


class StudyRuns:
    """The runs of a study in its MLflow experiment."""

    def __init__(self, experiment: str, table: StudyTable, base: Params) -> None:
        self.table, self.base, self.client = table, base, tracking_client()
        self.experiment = experiment_called(self.client, experiment)
        self.origin = {
            tags.COMMIT: lineage.git_commit(),
            tags.SOURCE_NAME: f"dcube study {table.name}",
            tags.SOURCE_TYPE: "LOCAL",
        }
        self.known = {run.data.tags.get(tags.STUDY_KEY): run for run in runs_of(self.client, [self.experiment], "")}

    def log_line(self, line: Line) -> None:
        """Log a line and its repeats. A line is identified by the trial and the result of its first repeat."""
        study, title = self.table.study, line.variant.title
        repeats = {
            f"{title}, {study.name_of_repeat(repeat)}": (
                make_trial(study, self.base, line.variant, repeat, line.chosen), result
            )
            for repeat, result in enumerate(line.results)
        }  # fmt: skip
        keys = {name: f"{name}: {_identity(*repeat)}" for name, repeat in repeats.items()}
        missing = [name for name, (_, result) in repeats.items() if result.metrics and not self._has(keys[name])]
        first = next(iter(repeats.values()))
        key = f"{title}: {_identity(*first)}"
        if self._has(key) and not missing:
            return
        row = {tags.STUDY_ROW: line.variant.row.name}
        with self._run(title, key, row) as run_id:
            send_params(self.client, run_id, self._settings(first[0]))
            for name in missing:
                with self._run(name, keys[name], row | {tags.PARENT: run_id}) as repeat_id:
                    self._log_repeat(repeat_id, *repeats[name])
            self._log_means(run_id, line)

    def log_tables(self, folder: Path) -> None:
        text = (folder / MARKDOWN).read_text(encoding="utf-8")
        key = f"table: {_hash(text)}"
        if not self._has(key):
            with self._run("table", key, {tags.NOTE: text}) as run_id:
                self.client.log_artifacts(run_id, str(folder))

    def _has(self, key: str) -> bool:
        return key in self.known and self.known[key].info.status == "FINISHED"

    @contextmanager
    def _run(self, name: str, key: str, own_tags: dict[str, str]) -> Iterator[str]:
        """Yield the id of the existing run with this key, also if it was interrupted, or of a new run."""
        run = self.known.get(key) or self.client.create_run(
            self.experiment, milliseconds(), self.origin | own_tags | {tags.STUDY_KEY: key}, name
        )
        with ending(self.client, run.info.run_id):
            yield run.info.run_id

    def _log_repeat(self, run_id: str, trial: Trial, result: Result) -> None:
        send_params(self.client, run_id, self._made_with(trial))
        if result.evaluation:
            fingerprint = result.evaluation.dataset_fingerprint
            datasets = {use: entity_of(self.table.data, fingerprint, split) for use, split in USES.items()}
            send_datasets(self.client, run_id, datasets)
            log_evaluation(self.client, run_id, result.evaluation, datasets["test"])
            for picture in sorted(result.folder.glob("*.png")):
                self.client.log_artifact(run_id, str(picture), evaluation_artifacts(trial.variant.row.model))
        else:
            log_metrics(self.client, run_id, result.metrics)

    def _log_means(self, run_id: str, line: Line) -> None:
        """Log the means with the number of repeats as the step, so that MLflow shows those over the most repeats."""
        means = {f"{metric}/mean": value.mean for metric, value in line.metrics.items()}
        deviations = {f"{metric}/deviation": value.deviation for metric, value in line.metrics.items()}
        log_metrics(self.client, run_id, means | deviations, step=len(line.results))

    def _made_with(self, trial: Trial) -> dict[str, Any]:
        """Return the parameters of a trial in the same form as those of a pipeline's registered candidates."""
        if self.table.study.report != "evaluation":
            return flattened(trial.params.model_dump(mode="json", include=OF_IMAGES))
        recipe, on_features = (
            recipe_of(trial.variant.row.model, trial.params),
            trial.variant.row.model in ON_DIFFUSION_FEATURES,
        )
        behind = groups_behind(trial.params, on_features, recipe.extra_images == "synthetic")
        diffusion = {"diffusion": trial.params.diffusion} if on_features else {}
        return shown_params(recipe.kind, {**behind, **diffusion, **recipe.params})

    def _settings(self, trial: Trial) -> dict[str, Any]:
        """Return the parameters that differ from the study's base."""
        before = flattened(self.base.model_dump(mode="json"))
        own = flattened(trial.params.model_dump(mode="json"))
        return {name: value for name, value in own.items() if value != before.get(name)}


def _identity(trial: Trial, result: Result) -> str:
    return _hash(f"{trial.key} {hashes_of(result.folder)}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
