"""Stage probe: fit linear probes on the frozen features for each block, timestep and number of labels."""

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import DIFFUSION, FEATURES, PREPARED, PROBE, SELECTION
from dcube.artifacts.schemas.selection import Selection
from dcube.config.schema import Params
from dcube.stages.process.running import params

NO_PROBES = "No probes: probe.labels is empty. `dvc exp run -S 'probe.labels=[20,50,100]'` fits them."


def main() -> None:
    settings = params()
    if settings.probe.labels:
        _probe(settings)
    else:
        print(NO_PROBES)
        PROBE.mkdir(parents=True)
        (PROBE / "none.txt").write_text(f"{NO_PROBES}\n", encoding="utf-8")  # DVC warns about empty folders


def _probe(settings: Params) -> None:
    # These imports are slow, and most pipelines fit no probes.
    from dcube.data.prepared import PreparedDataset
    from dcube.engine.device import choose_device
    from dcube.features.probe_study import run_probes
    from dcube.tracking.run import tracked_run

    dataset = PreparedDataset.load(PREPARED)
    classifier, probe, compute = settings.classifier, settings.probe, settings.compute
    read = {"evaluation_timesteps", "input", "sub_features", "use_sub_features"}
    groups = {"probe": probe, "classifier": classifier.model_dump(include=read), "compute": compute}
    with tracked_run("probe", groups, dataset) as tracked:
        selection, device = Selection.load(FEATURES / SELECTION), choose_device(compute)
        result = run_probes(dataset, DIFFUSION, selection, classifier, probe, compute, device)
        with atomic_folder(PROBE) as folder:
            result.save(folder)
        tracked.log_artifacts(PROBE, "probe")
        tracked.log_metrics(result.mean_aurocs())
