from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests

from airflow_provider_closers.sandbox.server import SandboxServer

KEY = "the-key-of-the-tests"


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(api_key=KEY, seed=1) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: SandboxServer) -> SandboxServer:
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def call(sandbox: SandboxServer, session: requests.Session) -> Callable[..., requests.Response]:
    """Send one request to the API: ``call("POST", {"email": ...})``."""

    def call(method: str, body: object = None, **options: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {KEY}", **options.pop("headers", {})}
        if body is not None:
            options["json"] = body
        query = options.pop("query", "")
        options = {"timeout": 5, "allow_redirects": False, **options}
        url = f"{sandbox.url}/v1/crm/prospect{query}"
        return session.request(method, url, headers=headers, **options)

    return call
