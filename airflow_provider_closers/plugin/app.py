"""
Who may ask for what: the page and its JSON.

An application mounted into Airflow's has no authentication of its own, so that each route here asks for
what Airflow's own API would. The page is for everybody who is logged in, and empty; the numbers in it
are for who may read XComs of the DAG, and the list has the DAGs that they may read.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from airflow_provider_closers.plugin.queries import PushInstance, push_instances, recent_pushes
from airflow_provider_closers.plugin.registration import URL_PREFIX
from airflow_provider_closers.plugin.reports import small, sum_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import Response

_STATIC = Path(__file__).parent / "static"

_HEADERS = {
    # Everything comes from here, and only Airflow's own pages may show it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'self'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_is_logged_in = Depends(get_user)
_may_read_xcoms = Depends(requires_access_dag("GET", DagAccessEntity.XCOM))


def build_app() -> FastAPI:
    """Return the application, to be mounted into Airflow's."""
    app = FastAPI(title="Closers pushes", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_add_headers)
    app.exception_handler(401)(_ask_to_log_in)
    app.get("/", dependencies=[_is_logged_in])(_page)
    app.get("/push/{dag_id}/{run_id}/{task_id}", dependencies=[_is_logged_in])(_page)
    app.get("/api/pushes", dependencies=[_may_read_xcoms])(_recent)
    app.get("/api/push/{dag_id}/{run_id}/{task_id}", dependencies=[_may_read_xcoms])(_push)
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(_HEADERS)
    # Who has logged out must not find the numbers in the browser; the files are asked for anew, too.
    response.headers["Cache-Control"] = "no-cache" if "/static/" in request.url.path else "no-store"
    return response


def _ask_to_log_in(request: Request, error: HTTPException) -> Response:
    """Lead a person to Airflow's login, and back here; a program gets the plain answer."""
    if "text/html" not in request.headers.get("Accept", ""):
        return JSONResponse({"detail": error.detail}, status_code=401)
    airflow = request.scope["root_path"].removesuffix(URL_PREFIX)
    return RedirectResponse(f"{airflow}/api/v2/auth/login?{urlencode({'next': str(request.url)})}")


def _page(request: Request) -> HTMLResponse:
    """Serve the page, which looks at its address for what to show."""
    # Airflow may be anywhere below its host, and the page at two depths below that.
    base = escape(request.scope["root_path"] + "/")
    return HTMLResponse((_STATIC / "page.html").read_text(encoding="utf-8").replace("BASE_PATH", base))


def _recent(
    session: SessionDep,
    user: GetUserDep,
    dag_id: str | None = None,
    operation: Literal["create", "update", "upsert", "delete", "sync"] | None = None,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Return the recent pushes of the DAGs that the user may read, newest first."""
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    page = recent_pushes(
        session,
        dag_ids=readable & {dag_id} if dag_id else readable,
        operation=operation,
        before=None if before is None else str(before),
        limit=limit,
    )
    return {"pushes": [_row(push) for push in page.pushes], "older": page.older}


def _push(
    session: SessionDep, dag_id: str, run_id: str, task_id: str, map_index: str | None = None
) -> dict[str, Any]:
    """
    Return one push with all that its report has, or a mapped task with the sum and its instances.

    :param map_index: Which instance; anything that is no number (Airflow leaves ``{MAP_INDEX}`` as it
        is where the task is not mapped) asks for the whole task.
    """
    pushes = push_instances(
        session, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=_map_index(map_index)
    )
    if not pushes:
        raise HTTPException(404, "Airflow knows no such task instance.")
    if len(pushes) == 1:
        return {"push": _row(pushes[0]) | {"report": pushes[0].report}, "instances": []}
    return {"push": _whole(pushes), "instances": [_row(push) for push in pushes]}


def _map_index(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


def _row(push: PushInstance) -> dict[str, Any]:
    return {
        "dag_id": push.dag_id,
        "run_id": push.run_id,
        "task_id": push.task_id,
        "map_index": push.map_index,
        "label": push.label,
        "operator": push.operator,
        "state": push.state,
        "try_number": push.try_number,
        "start_date": push.start_date,
        "end_date": push.end_date,
        "report": push.report and small(push.report),
    }


def _whole(pushes: list[PushInstance]) -> dict[str, Any]:
    """Return a mapped task: from its first instance's start to its last one's end."""
    starts = [push.start_date for push in pushes if push.start_date]
    ends = [push.end_date for push in pushes if push.end_date]
    start, end = min(starts, default=None), max(ends, default=None)
    seconds = (end - start).total_seconds() if start and end else 0
    reports = [push.report for push in pushes if push.report]
    return _row(pushes[0]) | {
        "map_index": -1,
        "label": None,
        "state": None,
        "start_date": start,
        "end_date": end,
        "report": sum_of(reports, seconds=max(0, seconds)) if reports else None,
    }
