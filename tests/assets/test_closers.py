"""The asset ``closers://<host>/prospects``."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import Asset

from airflow_provider_closers.assets.closers import (
    convert_asset_to_openlineage,
    create_asset,
    note_on_outlets,
    sanitize_uri,
)


@pytest.mark.parametrize(
    "uri",
    ["closers://api.closershq.io/prospects", "closers://API.closershq.io/prospects/"],
    ids=["as it is", "another spelling"],
)
def test_one_account_is_one_asset_however_it_is_spelled(uri):
    assert (
        sanitize_uri(urlsplit(uri)).geturl() == create_asset().uri == "closers://api.closershq.io/prospects"
    )


def test_an_asset_s_name_is_one_too_or_airflow_would_let_only_one_of_them_be_an_outlet():
    assert create_asset(host="API.closershq.io") == create_asset()


@pytest.mark.parametrize("host", ["", "http://127.0.0.1:8765", "crm.example.com/v1", "key@crm.example.com"])
def test_an_asset_of_what_is_more_than_a_host_is_an_error_that_shows_one(host):
    with pytest.raises(ValueError, match=r"host and port alone, such as 'api\.closershq\.io'") as raised:
        create_asset(host=host)

    assert "key" not in str(raised.value)


@pytest.mark.parametrize(
    "uri",
    [
        "closers:///prospects",
        "closers://api.closershq.io",
        "closers://api.closershq.io/campaigns",
        "closers://key@api.closershq.io/prospects",
        "closers://api.closershq.io/prospects?all",
    ],
    ids=["no host", "no path", "another path", "a key", "a query"],
)
def test_what_is_no_account_s_prospects_is_refused(uri):
    with pytest.raises(ValueError, match="closers://<host>/prospects"):
        sanitize_uri(urlsplit(uri))


def test_airflow_knows_the_scheme():
    # In a process of its own: Airflow looks for the handlers of schemes once.
    script = (
        "from airflow.providers.common.compat.sdk import Asset\n"
        "print(Asset('closers://API.closershq.io/prospects/').uri)\n"
        "Asset('closers://api.closershq.io/campaigns')"  # an error on Airflow 3, a warning on 2
    )

    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert "closers://api.closershq.io/prospects" in shown.stdout.splitlines()
    assert "The URI of a Closers asset is" in shown.stderr


def test_openlineage_names_it_by_account():
    dataset = convert_asset_to_openlineage(create_asset(host="crm.example.com:8443"), None)

    assert (dataset.namespace, dataset.name) == ("closers://crm.example.com:8443", "prospects")


def test_only_the_events_of_closers_assets_get_the_counts():
    ours, others = create_asset(), Asset("s3://lake/leads.csv")
    events = {ours: SimpleNamespace(extra={}), others: SimpleNamespace(extra={})}

    note_on_outlets([ours, others], {"outlet_events": events}, {"created": 3})

    assert (events[ours].extra, events[others].extra) == ({"created": 3}, {})


def test_outside_of_airflow_there_are_no_events_and_no_error():
    note_on_outlets([create_asset()], {}, {"created": 3})
