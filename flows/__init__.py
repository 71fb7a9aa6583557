"""The orchestration: when and where the stages of `dvc.yaml` run. Imports no torch."""
