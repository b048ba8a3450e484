"""Rows in Airflow's tables, as if tasks had run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_closers.push.report import PushReport

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MIDNIGHT = datetime(2026, 11, 27, tzinfo=UTC)


def report(**counts: Any) -> dict[str, Any]:
    """A push's report as Airflow stores it."""
    return PushReport(**{"operation": "create", "total": 0} | counts).as_dict()


@dataclass
class History:
    """Writes what Airflow writes when tasks run, each a minute after the one before."""

    session: Session
    minutes: int = 0
    runs: dict[tuple[str, str], int] = field(default_factory=dict)

    def ran(
        self,
        task_id: str = "push",
        *,
        dag_id: str = "leads",
        run_id: str = "night",
        map_index: int = -1,
        operator: str = "CreateProspectOperator",
        state: str = "success",
        returned: Any = None,
        event: dict[str, Any] | None = None,
        uri: str = "closers://api.closershq.io/prospects",
    ) -> None:
        """A task ran, returned something and told of an asset."""
        from airflow.models.asset import AssetEvent
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel
        from sqlalchemy import insert

        key = {"dag_id": dag_id, "task_id": task_id, "run_id": run_id, "map_index": map_index}
        start = MIDNIGHT + timedelta(minutes=self.minutes)
        self.minutes += 1
        end = None if state == "running" else start + timedelta(seconds=30)
        instance = key | {"id": self._id(start), "operator": operator, "state": state, "pool": "default_pool"}
        times = {"start_date": start, "end_date": end, "updated_at": start}
        dag_run_id = self._run(dag_id, run_id)
        self.session.execute(insert(TaskInstance.__table__).values(**instance, **times, try_number=1))
        if returned is not None:
            value = key | {"dag_run_id": dag_run_id, "key": "return_value", "value": returned}
            self.session.execute(insert(XComModel.__table__).values(**value, timestamp=end))
        if event is not None:
            source = {f"source_{name}": value for name, value in key.items()}
            self.session.execute(
                insert(AssetEvent.__table__).values(
                    **source, asset_id=self._asset(uri), extra=event, timestamp=end
                )
            )
        self.session.commit()

    def knows(self, *dag_ids: str) -> None:
        """Airflow has seen the files of these DAGs."""
        from airflow.models.dag import DagModel
        from airflow.models.dagbundle import DagBundleModel
        from sqlalchemy import insert

        self.session.execute(insert(DagBundleModel.__table__).values(name="dags", active=True))
        for dag_id in dag_ids:
            self.session.execute(
                insert(DagModel.__table__).values(
                    dag_id=dag_id,
                    bundle_name="dags",
                    timetable_type="x",
                    max_active_tasks=1,
                    max_consecutive_failed_dag_runs=0,
                    has_task_concurrency_limits=False,
                )
            )
        self.session.commit()

    def _id(self, time: datetime) -> Any:
        """A UUID of version 7, whose beginning is the time in milliseconds."""
        from uuid import UUID

        from airflow.models.taskinstance import TaskInstance

        number = (int(time.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | self.minutes
        return TaskInstance.id.type.python_type(str(UUID(int=number)))

    def _run(self, dag_id: str, run_id: str) -> int:
        from airflow.models.dagrun import DagRun
        from sqlalchemy import insert

        if (dag_id, run_id) not in self.runs:
            self.runs[dag_id, run_id] = number = len(self.runs) + 1
            run = {"id": number, "dag_id": dag_id, "run_id": run_id, "run_type": "manual", "state": "success"}
            times = {"run_after": MIDNIGHT, "updated_at": MIDNIGHT}
            self.session.execute(insert(DagRun.__table__).values(**run, **times, clear_number=0))
        return self.runs[dag_id, run_id]

    def _asset(self, uri: str) -> int:
        from airflow.models.asset import AssetModel
        from sqlalchemy import insert, select

        known = self.session.scalar(select(AssetModel.id).where(AssetModel.uri == uri))
        if known is not None:
            return known
        asset = {"uri": uri, "name": uri, "group": "asset", "extra": {}}
        times = {"created_at": MIDNIGHT, "updated_at": MIDNIGHT}
        return self.session.execute(
            insert(AssetModel.__table__).values(**asset, **times)
        ).inserted_primary_key[0]
