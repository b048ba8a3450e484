"""What a contender is told."""

from __future__ import annotations

from dataclasses import dataclass

PATH = "/v1/crm/prospect"


@dataclass(frozen=True, kw_only=True)
class Job:
    """
    One run of one contender.

    :param contender: Its module in this folder.
    :param server: The base URL.
    :param api_key: The key.
    :param concurrency: Requests in flight at once, where the contender can do that.
    :param records: How many to send; ``None``: as many as it can in ``seconds``.
    :param seconds: How long there are records.
    :param requests_per_second: A rate to keep, where the contender can do that.
    :param core: The core to stay on; ``None``: wherever the system puts it.
    :param reader: What the rows are read with, one of those in `readers`; ``None``: they are made up.
    :param source: Where they are: a file's path, or Airflow's connection to a database as JSON.
    """

    contender: str
    server: str
    api_key: str
    concurrency: int
    records: int | None = None
    seconds: float | None = None
    requests_per_second: float | None = None
    core: int | None = None
    reader: str | None = None
    source: str | None = None

    @property
    def url(self) -> str:
        """Where prospects are posted."""
        return self.server + PATH

    @property
    def headers(self) -> dict[str, str]:
        """What a request by hand carries."""
        return {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
