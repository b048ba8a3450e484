from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_history import History

from airflow_provider_closers.plugin.registration import HAS_VIEWS


@pytest.fixture(scope="session")
def empty_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's tables, as its models have them; the path of an SQLite database."""
    if not HAS_VIEWS:
        pytest.skip("the page needs Airflow 3.1, and the tables were other ones before")
    # Not at the top: Airflow 2.11 has no such modules.
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from sqlalchemy import create_engine

    import_all_models()
    path = tmp_path_factory.mktemp("tables") / "airflow.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def history(empty_tables: Path, tmp_path: Path) -> Iterator[History]:
    """An Airflow in which nothing ran yet."""
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    engine = create_engine(f"sqlite:///{shutil.copy(empty_tables, tmp_path)}")
    with Session(engine) as session:
        yield History(session)
    engine.dispose()
