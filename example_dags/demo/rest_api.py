"""Airflow's REST API, as far as a demo needs it, where whoever can reach it is let in."""

from __future__ import annotations

import json
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any

from demo.airflow_home import LOOPBACK


class RestApiError(Exception):
    """Airflow refuses a request, or does not answer it."""


class RestApi:
    """
    The API of an Airflow on this machine.

    :param port: Where its API server listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> dict[str, Any]:
        """
        Return what is at a path.

        :raises RestApiError: Nothing is, or there is no answer.
        """
        return self._successful("GET", path)

    def post(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        """
        Add an item to a collection, and return what Airflow made of it.

        :raises RestApiError: Airflow refuses it, or does not answer.
        """
        return self._successful("POST", path, item)

    def put(self, collection: str, name: str, item: dict[str, Any]) -> None:
        """
        Add an item to a collection, or change the one that an earlier start left.

        :raises RestApiError: Airflow refuses it, or does not answer.
        """
        status, answer = self.ask("POST", collection, item)
        if status == HTTPStatus.CONFLICT:
            status, answer = self.ask("PATCH", f"{collection}/{name}", item)
        _refuse_errors(f"{collection}/{name}", status, answer)

    def ask(self, method: str, path: str, item: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """
        Return the status and the answer of a request.

        :raises RestApiError: There is no answer, or none in JSON.
        """
        connection = HTTPConnection(LOOPBACK, self._port, timeout=30)
        body = None if item is None else json.dumps(item)
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            with closing(connection):
                connection.request(method, f"/api/v2{path}", body=body, headers=headers)
                answer = connection.getresponse()
                return answer.status, json.load(answer)
        except (OSError, HTTPException, ValueError) as e:
            raise RestApiError(f"Airflow does not answer {method} {path}: {e!r}") from e

    def _successful(self, method: str, path: str, item: dict[str, Any] | None = None) -> dict[str, Any]:
        status, answer = self.ask(method, path, item)
        _refuse_errors(path, status, answer)
        return answer


def _refuse_errors(path: str, status: int, answer: dict[str, Any]) -> None:
    if status >= HTTPStatus.BAD_REQUEST:
        raise RestApiError(f"Airflow answers {path} with {status}: {answer}")
