"""Stage: put every evaluated model into the registry, and name challenger and champion."""

import json

from dcube.data.prepared import PreparedDataset
from dcube.engine.publish import published
from dcube.errors import DcubeError
from dcube.lineage import origin_tags
from dcube.outbox import tracking_client
from dcube.registry import Evaluated, Registry, best_by_validation, record
from dcube.stages import params, run
from dcube.stages.paths import EVALUATION, MODELS, PREPARED, REGISTERED
from dcube.tracking import tracked_run


def main() -> None:
    everything = params()
    models = [Evaluated.load(MODELS, file.parent) for file in sorted(EVALUATION.glob("*/metrics.json"))]
    if not models:
        raise DcubeError(f"nothing has been evaluated in {EVALUATION}: run `dvc repro`")
    dataset = PreparedDataset.load(PREPARED)
    groups = {"registry": everything.registry}
    with tracked_run("register", groups, dataset) as tracked, published(REGISTERED) as folder:
        if tracked.run_id is None:
            raise DcubeError(
                "MLflow does not answer: start the server that MLFLOW_TRACKING_URI names, then `dvc repro`"
            )
        registry = Registry(tracking_client(), f"dcube-{everything.data.name}")
        versions = {
            model.name: registry.register(model, tracked.run_id, origin_tags(f"evaluate@{model.name}"))
            for model in models
        }
        best = best_by_validation(models)
        decision = registry.challenge(versions[best.name], everything.registry.minimum_improvement)
        result = record(registry, versions, best.name, decision)
        (folder / "registered.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
        tracked.log_artifacts(folder)
    for name, version in result["versions"].items():
        print(f"{result['name']} version {version}: {name}")
    print(f"challenger: {best.name}, version {result['aliases']['challenger']} (largest validation AUROC)")
    print(f"champion: version {result['aliases']['champion']} ({best.name}: {decision.reason})")


if __name__ == "__main__":
    run(main)
