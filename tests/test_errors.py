"""The error family."""

from __future__ import annotations

import inspect
import pickle

import pytest

from airflow_provider_closers import errors
from airflow_provider_closers.push.report import PushReport

FAMILY = [
    error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", FAMILY, ids=lambda error: error.__name__)
def test_every_error_is_of_the_family_and_in_the_drawing(error):
    # Who stops a push is no error of it, so that nobody who handles those catches it.
    assert issubclass(error, errors.ClosersError) != (error is errors.PushStoppedError)
    assert error.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "error",
    [
        errors.ClosersAuthError("refused"),
        errors.ClosersRateLimitError("slow down", 7.0),
        errors.ClosersAPIError("refused", 418, "teapot"),
        errors.PushFailedError("3 rejects", PushReport(operation="create", rejected=3, total=3)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error):
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    "error", [errors.ClosersConfigError, errors.InvalidProspectError, errors.TooManyDeletesError]
)
def test_a_caller_s_mistake_is_a_value_error(error):
    assert issubclass(error, ValueError)
