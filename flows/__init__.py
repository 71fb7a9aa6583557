"""The orchestration: when and where the stages of `dvc.yaml` run. Imports no torch."""

import os

# Runs over medical data report to nobody. Prefect reads its settings when it is first imported.
os.environ |= {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
