"""`python -m flows.flow_run ID`: name and state of a run on the server of `PREFECT_API_URL`, for `dcube lineage`."""

import sys
from uuid import UUID

from dcube.errors import one_line_errors
from dcube.runtime.processes import prepare_process
from flows.prefect_api import describe_run


def main(run_id: str) -> None:
    """Print the run's name and state."""
    prepare_process()
    with one_line_errors():
        print(describe_run(UUID(run_id)))


if __name__ == "__main__":
    main(*sys.argv[1:])
