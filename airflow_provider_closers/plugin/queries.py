"""
Which task instances are pushes, and what Airflow's database says of them.

No index leads from an operator, or from what is in an XCom, to its task instances. What there is: the
ids of task instances are UUIDs of version 7, which begin with a time, so that the primary key is in the
order in which their tries were made. The recent pushes are looked for along it, newest first, and in a
stretch of limited length, so that the cost of one page does not grow with Airflow's history.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from sqlalchemy import and_, case, null, or_, select, tuple_

from airflow_provider_closers.assets.closers import SCHEME
from airflow_provider_closers.operators.prospect import (
    CreateProspectOperator,
    DeleteProspectOperator,
    UpdateProspectOperator,
)
from airflow_provider_closers.operators.sync import SyncProspectsOperator
from airflow_provider_closers.plugin.reports import TELLING_KEY, report_of
from airflow_provider_closers.transfers.file_to_closers import FileToClosersOperator
from airflow_provider_closers.transfers.sql_to_closers import SqlToClosersOperator

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row, Select
    from sqlalchemy.orm import Session

#: The operators that push. Airflow keeps the bare class name of a task instance's operator.
OPERATORS = tuple(
    operator.__name__
    for operator in (
        CreateProspectOperator,
        UpdateProspectOperator,
        DeleteProspectOperator,
        SqlToClosersOperator,
        FileToClosersOperator,
        SyncProspectsOperator,
    )
)

#: How many task instances, of all kinds, one page looks at.
STRETCH = 50_000
_FEW_DAGS = 50

#: How many of the newest events of Closers assets are asked for the tasks that they come from.
_EVENTS = 5_000
# An event is stored as its task ends.
_EVENT_DELAY = timedelta(minutes=5)
# Not "skipped", "upstream_failed" and those before the start: such a task has pushed nothing.
_STATES = ("running", "success", "failed", "up_for_retry", "deferred", "up_for_reschedule", "restarting")

_NEWEST_FIRST = TaskInstance.id.desc()

_Key = tuple[str, str, str, int]


@dataclass(frozen=True, kw_only=True)
class PushInstance:
    """
    A task instance that pushes, or may.

    :param label: What stands for the map index in Airflow's interface, where the DAG says so.
    :param report: The report of its last try; ``None`` where there is none (yet).
    """

    id: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    label: str | None
    operator: str | None
    state: str | None
    try_number: int
    start_date: datetime | None
    end_date: datetime | None
    report: dict[str, Any] | None

    @property
    def key(self) -> _Key:
        """What Airflow's other tables know it by."""
        return self.dag_id, self.task_id, self.run_id, self.map_index


@dataclass(frozen=True)
class Page:
    """
    Some of the recent pushes, newest first.

    :param older: From which id the next page goes on; ``None`` at the end of Airflow's history.
    """

    pushes: list[PushInstance]
    older: str | None


def recent_pushes(
    session: Session,
    *,
    dag_ids: Collection[str],
    operation: str | None = None,
    before: str | None = None,
    limit: int = 50,
    stretch: int = STRETCH,
) -> Page:
    """
    Return the newest pushes, in the order in which their tries were made.

    There may be fewer than ``limit``, even none, and older ones nevertheless: where pushes are rare.

    :param dag_ids: The DAGs that the user may read.
    :param operation: Only pushes of this one.
    :param before: Where an earlier page ended.
    :param stretch: How many task instances to look at.
    """
    readable = TaskInstance.dag_id.in_(dag_ids)
    within = [] if before is None else [TaskInstance.id < _id(before)]
    # Of few DAGs an index leads to the instances; of many it is quicker to walk past the others.
    walk = select(TaskInstance.id).where(*within, *([readable] if len(dag_ids) <= _FEW_DAGS else []))
    last = session.scalar(walk.order_by(_NEWEST_FIRST).offset(stretch - 1).limit(1))
    if last is not None:
        within.append(TaskInstance.id >= last)
    query = _instances().where(*within, readable, _is_push(session), TaskInstance.state.in_(_STATES))
    if operation is not None:
        # Where the XCom holds no report the event may, which is seen to below.
        stored = XComModel.value["operation"].as_string()
        query = query.where(or_(stored == operation, stored.is_(None)))
    rows = session.execute(query.order_by(_NEWEST_FIRST).limit(limit + 1)).all()
    pushes = _with_events(session, [_push(row) for row in rows[:limit]])
    if operation is not None:
        pushes = [push for push in pushes if push.report and push.report["operation"] == operation]
    older = rows[limit - 1].id if len(rows) > limit else last
    return Page(pushes, older=None if older is None else str(older))


def push_instances(
    session: Session, *, dag_id: str, run_id: str, task_id: str, map_index: int | None = None
) -> list[PushInstance]:
    """
    Return a task's instances in one run, be it one or be they mapped; any task's.

    :param map_index: Only this one.
    """
    query = _instances().where(
        TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id
    )
    if map_index is not None:
        query = query.where(TaskInstance.map_index == map_index)
    rows = session.execute(query.order_by(TaskInstance.map_index)).all()
    return _with_events(session, [_push(row) for row in rows])


def _instances() -> Select[*tuple[Any, ...]]:
    """Return the query for task instances, each with its return value if that is a report."""
    value = XComModel.value
    # Other values stay in the database; of a push they are small, of any other task as large as you like.
    report = case((value[TELLING_KEY].as_string().is_not(None), value), else_=null())
    return (
        select(
            TaskInstance.id,
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            TaskInstance.rendered_map_index.label("label"),  # type: ignore[attr-defined] # it is both
            TaskInstance.operator,
            TaskInstance.state,
            TaskInstance.try_number,
            TaskInstance.start_date,
            TaskInstance.end_date,
            report.label("report"),
        )
        .select_from(TaskInstance)
        .outerjoin(
            XComModel,
            and_(
                XComModel.dag_id == TaskInstance.dag_id,
                XComModel.task_id == TaskInstance.task_id,
                XComModel.run_id == TaskInstance.run_id,
                XComModel.map_index == TaskInstance.map_index,
                XComModel.key == XCOM_RETURN_KEY,
            ),
        )
    )


def _is_push(session: Session) -> ColumnElement[bool]:
    """Return the condition that a task instance is of an operator that pushes, or of a task known to."""
    newest = (
        select(AssetEvent.source_dag_id, AssetEvent.source_task_id)
        .where(AssetEvent.asset_id.in_(_assets()))
        .order_by(AssetEvent.timestamp.desc())
        .limit(_EVENTS)
        .subquery()
    )
    tasks = session.execute(select(newest).where(newest.c.source_task_id.is_not(None)).distinct()).all()
    by_operator = TaskInstance.operator.in_(OPERATORS)
    if not tasks:
        return by_operator
    by_task = tuple_(TaskInstance.dag_id, TaskInstance.task_id).in_([tuple(task) for task in tasks])
    return or_(by_operator, by_task)


def _assets() -> Select[Any]:
    """Return the query for the Closers assets, which tell of functions and derived operators that push."""
    return select(AssetModel.id).where(AssetModel.uri.startswith(f"{SCHEME}://"))


def _id(text: str) -> Any:
    """Return an id as this version of Airflow has it: a UUID, or its text."""
    return TaskInstance.id.type.python_type(text)


def _push(row: Row[Any]) -> PushInstance:
    return PushInstance(**{**row._asdict(), "id": str(row.id), "report": report_of(row.report)})


def _with_events(session: Session, pushes: list[PushInstance]) -> list[PushInstance]:
    """Fill in reports from events, where a task ended well and left none in its XCom."""
    ends = {push.key: push.end_date for push in pushes if not push.report and push.state == "success"}
    times = [end for end in ends.values() if end is not None]
    if not times:
        return pushes
    events = session.execute(
        select(
            AssetEvent.source_dag_id,
            AssetEvent.source_task_id,
            AssetEvent.source_run_id,
            AssetEvent.source_map_index,
            AssetEvent.extra,
        )
        .where(
            AssetEvent.asset_id.in_(_assets()),
            AssetEvent.timestamp.between(min(times) - _EVENT_DELAY, max(times) + _EVENT_DELAY),
            AssetEvent.source_dag_id.in_({push.dag_id for push in pushes}),
        )
        .order_by(AssetEvent.timestamp)
    )
    reports = {tuple(key): report_of(extra) for *key, extra in events}
    return [push if push.report else replace(push, report=reports.get(push.key)) for push in pushes]
