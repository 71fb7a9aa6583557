"""A run waits for the bucket that machines share, rather than fail with all that it has computed."""

import time

from prefect.logging import get_run_logger

from dcube.runtime.s3 import StorageAwayError, check_storage

LONGEST_SECONDS = 600.0
SECONDS_BETWEEN_TRIES = 5.0


def wait_for_storage() -> None:
    """Return once the configured bucket answers, or at once where none is configured.

    Raises:
        DcubeError: it is not to be had, or did not answer for ten minutes.
    """
    deadline = time.monotonic() + LONGEST_SECONDS
    while True:
        try:
            return check_storage()
        except StorageAwayError as error:
            if time.monotonic() >= deadline:
                raise
            get_run_logger().warning("%s; trying again", error)
            time.sleep(SECONDS_BETWEEN_TRIES)
