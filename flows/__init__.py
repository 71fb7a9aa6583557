"""Orchestration: when and where the stages of `dvc.yaml` run. This package must not import torch."""

POOL = "gpu"  # work pool of all deployments, also named in `prefect.yaml`
