"""The sandbox, in a process and on a core of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from types import TracebackType
from typing import Any, Self

from benchmarks import vitals
from benchmarks.machine import SERVER_CORE, keep_to

API_KEY = "benchmark-key"
_PAGE = 10_000


class Server:
    """
    The sandbox, controlled from outside; a context manager.

    :param journal_size: How many requests it remembers, for :meth:`journal`.
    """

    def __init__(self, journal_size: int = 100_000) -> None:
        command = [sys.executable, "-m", "airflow_provider_closers.sandbox", "--port", "0"]
        self._process = subprocess.Popen(
            [*command, "--api-key", API_KEY, "--journal-size", str(journal_size)],
            stdout=subprocess.PIPE,
            text=True,
        )
        keep_to(SERVER_CORE, self._process.pid)
        assert self._process.stdout is not None
        greeting = re.search(r"http://[^/\s]+", self._process.stdout.readline())
        if greeting is None:
            raise RuntimeError("The sandbox did not start.")
        self.url = greeting[0]
        # A proxy of the environment knows nothing of our loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def reset(self, **settings: Any) -> None:
        """Forget everything, and misbehave in this way only."""
        self._ask("POST", "reset", {})
        self.configure(**settings)

    def configure(self, **settings: Any) -> None:
        """Change settings; the others stay."""
        self._ask("PATCH", "settings", settings)

    def prospects(self) -> int:
        """Return how many prospects there are."""
        return int(self._ask("GET", "stats")["prospects"])

    def requests(self) -> dict[str, Any]:
        """Return the counts of the requests since the last reset."""
        return dict(self._ask("GET", "stats")["requests"])

    def journal(self) -> list[dict[str, Any]]:
        """Return the requests since the last reset."""
        entries: list[dict[str, Any]] = []
        while page := self._ask("GET", f"journal?since={len(entries)}&limit={_PAGE}")["entries"]:
            entries += page
        return entries

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used; 0 where it can't be known."""
        return vitals.cpu_seconds(self._process.pid)

    def rss(self) -> int:
        """Return the memory that it has in use; 0 where it can't be known."""
        return vitals.rss(self._process.pid)

    def _ask(self, method: str, what: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/sandbox/{what}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)
