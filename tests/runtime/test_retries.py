"""Retry policies: pauses double up to the longest, and the last error is raised once the time is over."""

import pytest

from dcube.runtime.retries import RetryPolicy


def failing(times: int):
    """A function that fails `times` times, then returns the number of its calls."""
    calls = []

    def call() -> int:
        calls.append(1)
        if len(calls) <= times:
            raise ConnectionError(f"attempt {len(calls)}")
        return len(calls)

    return call


def test_pauses_double_and_only_the_first_error_is_reported():
    pauses, errors = [], []
    retrying = RetryPolicy(None, first_pause=2, longest_pause=10).retrying(
        ConnectionError, on_error=errors.append, sleep=pauses.append
    )
    assert retrying(failing(4)) == 5
    assert pauses == [2, 4, 8, 10] and [str(error) for error in errors] == ["attempt 1"]
    assert retrying(failing(1)) == 2 and len(errors) == 2, "every call counts by itself"


def test_last_error_is_raised_after_the_timeout():
    with pytest.raises(ConnectionError, match="attempt 1"):
        RetryPolicy(timeout=0, first_pause=1, longest_pause=1).retrying(ConnectionError)(failing(9))


def test_errors_of_other_types_are_not_retried():
    with pytest.raises(ConnectionError):
        RetryPolicy(None, first_pause=1, longest_pause=1).retrying(ValueError)(failing(1))


def test_pause_is_computed_from_the_number_of_failures():
    policy = RetryPolicy(None, first_pause=2, longest_pause=60)
    assert [policy.pause_after(failures) for failures in (0, 1, 2, 9)] == [2, 4, 8, 60]


def test_waiting_ends_when_the_condition_holds_or_time_is_over():
    policy = RetryPolicy(timeout=0.05, first_pause=0.01, longest_pause=0.01)
    found = iter((False, False, True))
    assert policy.wait_until(lambda: next(found))
    assert not policy.wait_until(lambda: False)
    with pytest.raises(ConnectionError, match="attempt 1"):
        policy.wait_until(lambda: bool(failing(1)()))
