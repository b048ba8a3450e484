"""
Asks Airflow's own API server, in this process, as several users; prints the answers as JSON.

A process of its own, since Airflow keeps its application and its auth manager for good.
"""

from __future__ import annotations

import json
import sys

from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient


def main(paths: list[str]) -> None:
    """Print, for each user and path, the status, the headers and the text of the answer."""
    with TestClient(create_app(apps="core")) as client:
        answers = {}
        for name in (None, "jane", "joe", "clerk"):
            headers = {}
            if name is not None:
                token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role="viewer"))
                headers["Authorization"] = f"Bearer {token}"
            for path in paths:
                accept = {"Accept": "application/json" if "/api/" in path else "text/html"}
                answer = client.get(path, headers=headers | accept, follow_redirects=False)
                answers[f"{name} {path}"] = [answer.status_code, dict(answer.headers), answer.text]
        print(json.dumps(answers))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1:])
