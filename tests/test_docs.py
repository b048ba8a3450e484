"""What the guides show runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

SYNC = Path(__file__).resolve().parent.parent / "docs" / "sync.md"


def snippets(guide: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.usefixtures("closers_connection")
def test_the_snippets_of_the_guide_to_syncs_run(sandbox, tmp_path, monkeypatch):
    from airflow.providers.common.compat.sdk import Param

    monkeypatch.chdir(tmp_path)
    operator, parameter, hook = snippets(SYNC)
    there: dict[str, Any] = {"rows": [{"email": "jane@acme.io"}], "is_first_run": True, "Param": Param}

    for snippet in (operator, parameter, hook):
        exec(snippet, there)

    assert there["params"]["full_resync"].resolve() is False
    assert there["report"].created == sandbox.count() == 1


def test_the_guide_to_syncs_names_every_parameter():
    import inspect

    from airflow_provider_closers.operators.sync import SyncProspectsOperator

    own = set(inspect.signature(SyncProspectsOperator.__init__).parameters) - {"self", "kwargs"}

    assert {name for name in own if f"`{name}`" not in SYNC.read_text(encoding="utf-8")} == set()
