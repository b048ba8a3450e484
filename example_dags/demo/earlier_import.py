"""
What Closers holds before the first night: leads that somebody once imported by hand.

Without them there would be nothing to erase, and nobody to find in Closers already.
"""

from __future__ import annotations

from typing import Any

import lead_warehouse

NAMES = {"email": "email", "first_name": "firstName", "last_name": "lastName"}


def prospects() -> list[dict[str, Any]]:
    """Return the leads of before October 2026 as the API names things, each person once."""
    imported: dict[str, dict[str, Any]] = {}
    for lead in lead_warehouse.read_leads():
        if lead["signed_up_on"] < "2026-10-01":
            fields = {name: lead[column] for column, name in NAMES.items() if lead[column] is not None}
            imported.setdefault(lead["email"].lower(), fields)
    return list(imported.values())
