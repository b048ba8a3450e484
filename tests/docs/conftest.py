"""What a reader of the documents has, beside their snippets."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_closers.sandbox.server import SandboxServer

# Plain modules that the tests here share.
sys.path.append(str(Path(__file__).resolve().parent))


@pytest.fixture
def reader(
    sandbox: SandboxServer,
    closers_connection: str,
    airflow_db: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody with the connections `closers_default` and `warehouse`, a bucket, and some Variables."""
    import lead_warehouse

    monkeypatch.setattr(lead_warehouse, "EXAMPLES_HOME", tmp_path)
    warehouse = {"conn_type": "sqlite", "host": str(lead_warehouse.ready())}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(warehouse))
    monkeypatch.setenv("AIRFLOW_VAR_CLOSERS_KEY", sandbox.api_key)
    monkeypatch.setenv("AIRFLOW_VAR_CLOSERS_SUPPRESSION_SECRET", "a secret of the tests")
    leads = tmp_path / "s3" / "lake" / "leads"
    leads.mkdir(parents=True)
    shutil.copy(lead_warehouse.LEADS_CSV, leads)
    attach_as_s3(tmp_path / "s3", monkeypatch)


def attach_as_s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow find the folder's folders as the buckets behind `s3://aws_lake@`."""
    import fsspec
    from airflow.providers.common.compat.sdk import ObjectStoragePath
    from fsspec.implementations.dirfs import DirFileSystem

    # Airflow's own door to its file systems; it is elsewhere in each version. What goes in stays, so
    # the place is noted as empty first, and will be again.
    attach = sys.modules[ObjectStoragePath.__module__].attach
    monkeypatch.setitem(attach.__globals__["_STORE_CACHE"], "s3-aws_lake", None)
    attach(protocol="s3", conn_id="aws_lake", fs=DirFileSystem(str(folder), fsspec.filesystem("file")))
