"""
The page, and the endpoints under ``/sandbox`` by which it and tests look in and take control.

No key is asked: whoever may reach them is decided in ``app``.
"""

# Annotations stay objects here: FastAPI reads them when the routes are made.

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query, Request, Response  # noqa: TID253 - no DAG file imports the sandbox
from fastapi.exceptions import RequestValidationError  # noqa: TID253
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from airflow_provider_closers.sandbox.crm import Prospect, page_of
from airflow_provider_closers.sandbox.journal import iso_time
from airflow_provider_closers.sandbox.misbehaviour import Fault
from airflow_provider_closers.sandbox.state import Part, SandboxState

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = files("airflow_provider_closers.sandbox")


class ResetRequest(BaseModel):
    """What a reset shall leave as it is."""

    model_config = ConfigDict(extra="forbid")

    keep: list[Part] = []


def build_control(state: SandboxState) -> FastAPI:
    """Return the application that serves everything but the API itself."""
    # The pages that FastAPI would serve load their scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(HTTPException)
    async def _not_served(request: Request, error: HTTPException) -> Response:
        what = f"{request.method} {request.url.path}"
        message = f"{what}: {error.detail}."
        return _json({"success": False, "message": message}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        return _json({"success": False, "message": _explain(error.errors())}, 400)

    _add_page(app)
    _add_settings(app, state)
    _add_faults(app, state)
    _add_views(app, state)

    @app.post("/sandbox/reset")
    async def reset(request: ResetRequest | None = None) -> Response:
        try:
            state.reset(request.keep if request else ())
        except ValueError as error:
            return _json({"success": False, "message": str(error)}, 409)
        return _json(state.stats())

    return app


def _add_page(app: FastAPI) -> None:
    page = _PACKAGE.joinpath("page.html").read_text("utf-8")
    page_headers = {"content-security-policy": _content_security_policy(page), **_PAGE_HEADERS}
    description = _PACKAGE.joinpath("openapi.yaml").read_text("utf-8")

    @app.get("/")
    async def show_page() -> Response:
        return Response(page, media_type="text/html", headers=page_headers)

    @app.get("/openapi.yaml")
    async def show_description() -> Response:
        return Response(description, media_type="application/yaml")


def _add_settings(app: FastAPI, state: SandboxState) -> None:
    @app.get("/sandbox/settings")
    async def show_settings() -> Response:
        return _json(state.settings.model_dump())

    @app.patch("/sandbox/settings")
    async def change_settings(changes: dict[str, Any]) -> Response:
        try:
            settings = state.configure(changes)
        except ValidationError as error:
            return _json({"success": False, "message": _explain(error.errors())}, 400)
        except ValueError as error:
            return _json({"success": False, "message": str(error)}, 409)
        return _json(settings.model_dump())


def _add_faults(app: FastAPI, state: SandboxState) -> None:
    @app.get("/sandbox/faults")
    async def show_faults() -> Response:
        return _json(_pending(state))

    @app.post("/sandbox/faults")
    async def add_faults(faults: list[Fault]) -> Response:
        state.add_faults(faults)
        return _json(_pending(state), 201)

    @app.delete("/sandbox/faults")
    async def clear_faults() -> Response:
        with state.lock:
            state.faults.clear()
        return Response(status_code=204)


def _add_views(app: FastAPI, state: SandboxState) -> None:
    @app.get("/sandbox/journal")
    async def show_journal(
        since: Annotated[int | None, Query(ge=0)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        email: str | None = None,
    ) -> Response:
        with state.lock:
            entries = state.journal.entries(since=since or 0, email=email)
            total = state.journal.total
        # A reader that follows goes on where it was; one that looks in wants what is new.
        shown = entries[-limit:] if since is None else entries[:limit]
        return _json({"total": total, "entries": [entry.as_json() for entry in shown]})

    # No coroutine: a search through a million prospects would hold up the API meanwhile.
    @app.get("/sandbox/prospects")
    def show_prospects(
        q: str = "",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        needle = q.strip().casefold()
        if needle:
            with state.lock:
                everyone = state.crm.snapshot()
            found = [prospect for prospect in reversed(everyone) if prospect.mentions(needle)]
            total, shown = len(found), page_of(iter(found), limit=limit, offset=offset)
        else:
            with state.lock:
                total = len(state.crm)
                shown = page_of(state.crm.newest_first(), limit=limit, offset=offset)
        with state.lock:
            return _json({"total": total, "prospects": [_described(prospect) for prospect in shown]})

    @app.get("/sandbox/stats")
    async def show_stats() -> Response:
        return _json(state.stats())


def _pending(state: SandboxState) -> list[dict[str, Any]]:
    with state.lock:
        return [fault.model_dump(exclude_none=True) for fault in state.faults.pending()]


def _described(prospect: Prospect) -> dict[str, Any]:
    return {
        **prospect.as_record(),
        "created": iso_time(prospect.created),
        "updated": iso_time(prospect.updated),
    }


def _json(payload: Any, status: int = 200, headers: Any = None) -> Response:
    # Escaped to ASCII: a name may hold half a surrogate pair, which UTF-8 can't express.
    body = json.dumps(payload, separators=(",", ":"))
    return Response(body, status, {**(headers or {}), "cache-control": "no-store"}, "application/json")


def _explain(errors: "Sequence[Any]") -> str:
    """Return one line from what pydantic found."""
    lines = []
    for error in errors:
        where = ".".join(str(part) for part in error["loc"] if part not in ("body", "query"))
        message = "there is nothing of this name" if error["type"] == "extra_forbidden" else error["msg"]
        lines.append(f"{where}: {message}" if where else message)
    return "; ".join(lines)


_PAGE_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def _content_security_policy(page: str) -> str:
    """Allow the page's own script and style, by their hashes, and nothing from anywhere else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hashes(page, 'script')}",
            f"style-src {_hashes(page, 'style')}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _hashes(page: str, tag: str) -> str:
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in contents)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
