"""The orchestration: when and where the stages of `dvc.yaml` run. Imports no torch."""

POOL = "gpu"  # the work pool of all deployments; `prefect.yaml` names it too
