"""Which failures are tried again, and when."""

from __future__ import annotations

import importlib.util
import pickle
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_closers.errors import (
    CheckpointDroppedError,
    ClosersAuthError,
    ClosersConfigError,
    ClosersRateLimitError,
    ClosersUnavailableError,
    FileUnavailableError,
    PushFailedError,
    TooManyDeletesError,
    is_final,
)
from airflow_provider_closers.operators.failure import not_to_be_retried
from airflow_provider_closers.operators.prospect import CreateProspectOperator, DeleteProspectOperator
from airflow_provider_closers.push.report import PushReport
from airflow_provider_closers.transfers.file_to_closers import FileToClosersOperator

HAS_POLICIES = (
    importlib.util.find_spec("airflow.sdk.definitions.retry_policy") is not None
    if (importlib.util.find_spec("airflow.sdk"))
    else False
)
needs_policies = pytest.mark.skipif(not HAS_POLICIES, reason="retry policies came with Airflow 3.3")

REFUSED = PushReport(operation="create", total=2, created=1, rejected=1)
FAILED_AT = PushReport(operation="create", total=2, created=1, rejected=1, may_pass=1)


def decide(error: BaseException, try_number: int = 1, **task: Any) -> tuple[str, float | None]:
    from airflow_provider_closers.retry_policy import ClosersRetryPolicy

    context = {"task": SimpleNamespace(**{"retry_delay": timedelta(seconds=30), **task})}
    decision = ClosersRetryPolicy().evaluate(error, try_number, 3, context)
    delay = decision.retry_delay
    return decision.action.value, delay and delay.total_seconds()


@needs_policies
@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (ClosersAuthError("401"), ("fail", None)),
        (ClosersConfigError("no key"), ("fail", None)),
        (TooManyDeletesError("101"), ("fail", None)),
        (PushFailedError("rejects", REFUSED), ("fail", None)),
        (PushFailedError("rejects", FAILED_AT), ("default", None)),
        (CheckpointDroppedError("again"), ("default", None)),
        (FileUnavailableError("late"), ("default", None)),
        (ClosersRateLimitError("429", 7), ("retry", 7)),
        (ClosersRateLimitError("429"), ("retry", 30)),
        (ClosersUnavailableError("503", 90), ("retry", 90)),
        (ClosersUnavailableError("no answer"), ("retry", 30)),
        (ClosersRateLimitError("429", 1e12), ("retry", 86_400)),
        (OSError("the database"), ("default", None)),
    ],
    ids=lambda value: f"{type(value).__name__}{value.args[-1:]}" if isinstance(value, Exception) else "",
)
def test_a_hopeless_failure_is_final_a_rate_limit_waits_an_outage_backs_off(error, decision):
    assert decide(error) == decision


@needs_policies
@pytest.mark.parametrize(
    ("try_number", "task", "seconds"),
    [
        (1, {}, 30),
        (2, {}, 60),
        (4, {}, 240),
        (99, {}, 3_600),
        (3, {"max_retry_delay": timedelta(seconds=70)}, 70),
        (1, {"retry_delay": timedelta(hours=2)}, 7_200),
        (1, {"retry_delay": None}, 300),
    ],
)
def test_an_outage_doubles_the_task_s_own_delay(try_number, task, seconds):
    assert decide(ClosersUnavailableError("no answer"), try_number, **task) == ("retry", seconds)


@needs_policies
def test_a_task_that_backs_off_by_itself_keeps_its_own_way():
    own = {"retry_exponential_backoff": True}

    assert decide(ClosersUnavailableError("no answer"), **own) == ("default", None)
    assert decide(ClosersRateLimitError("429", 7), **own) == ("retry", 7)


@needs_policies
def test_without_a_context_there_is_a_decision_all_the_same():
    from airflow_provider_closers.retry_policy import ClosersRetryPolicy

    decision = ClosersRetryPolicy().evaluate(ClosersUnavailableError("no answer"), 1, 3)

    assert decision.retry_delay == timedelta(minutes=5)


@needs_policies
def test_operators_have_the_policy_unless_the_task_has_its_own():
    from airflow.sdk import DAG, ExceptionRetryPolicy

    from airflow_provider_closers.retry_policy import ClosersRetryPolicy

    own = ExceptionRetryPolicy(rules=[])
    with DAG("policies", schedule=None):
        usual = CreateProspectOperator(task_id="usual", prospects=[])
        with_own = CreateProspectOperator(task_id="own", prospects=[], retry_policy=own)
        mapped = CreateProspectOperator.partial(task_id="mapped").expand(prospects=[[]])
        mapped_own = CreateProspectOperator.partial(task_id="mapped_own", retry_policy=own).expand(
            prospects=[[]]
        )
    with DAG("defaults", schedule=None, default_args={"retry_policy": own}):
        by_default = CreateProspectOperator(task_id="by_default", prospects=[])

    assert isinstance(usual.retry_policy, ClosersRetryPolicy)
    assert isinstance(mapped.unmap({"prospects": []}).retry_policy, ClosersRetryPolicy)
    assert with_own.retry_policy is own
    assert mapped_own.unmap({"prospects": []}).retry_policy is own
    assert by_default.retry_policy is own


@needs_policies
def test_a_serialised_policy_comes_back():
    from airflow_provider_closers.retry_policy import ClosersRetryPolicy

    assert isinstance(ClosersRetryPolicy.deserialize(ClosersRetryPolicy().serialize()), ClosersRetryPolicy)


@pytest.mark.parametrize("parameter", ["path", "suppression_list", "rejects_path"])
def test_a_file_that_is_late_or_whose_storage_is_out_of_order_is_worth_another_try(
    sandbox, closers_connection, tmp_path, parameter
):
    leads, no_folder = tmp_path / "leads.csv", tmp_path / "no-folder"
    leads.write_text("email\njane@acme.io\n")
    no_folder.write_text("")
    missing = {"path": str(leads), parameter: str(no_folder / "file.csv")}

    with pytest.raises(FileUnavailableError) as raised:
        FileToClosersOperator(task_id="push", operation="create", **missing).execute({})

    assert not isinstance(raised.value, AirflowFailException)
    assert not is_final(raised.value)
    assert sandbox.journal() == []


def test_a_final_failure_survives_pickling():
    final = not_to_be_retried(PushFailedError("rejects", REFUSED))

    copy = pickle.loads(pickle.dumps(final))

    assert isinstance(copy, PushFailedError)
    assert isinstance(copy, AirflowFailException)
    assert (str(copy), copy.report) == ("rejects", REFUSED)


@pytest.mark.skipif(HAS_POLICIES, reason="this Airflow has retry policies")
@pytest.mark.parametrize(
    ("operator", "parameters", "fault", "error", "match"),
    [
        (
            CreateProspectOperator,
            {"prospects": [{"email": "jane@acme.io"}]},
            401,
            ClosersAuthError,
            "refused the key",
        ),
        (
            CreateProspectOperator,
            {"prospects": [{"email": "no"}]},
            None,
            PushFailedError,
            "1 of 1 records were rejected",
        ),
        (
            DeleteProspectOperator,
            {"prospects": ["jane@acme.io"], "max_deletes": 0},
            None,
            TooManyDeletesError,
            "max_deletes",
        ),
    ],
    ids=["key", "rejects", "deletes"],
)
def test_an_airflow_without_policies_is_told_not_to_try_again(
    sandbox, closers_connection, operator, parameters, fault, error, match
):
    if fault:
        sandbox.add_fault("error", status=fault)

    with pytest.raises(AirflowFailException, match=match) as raised:
        operator(task_id="push", **parameters).execute({})

    assert isinstance(raised.value, error)
