"""The asset ``closers://<host>/prospects``: the prospects of one Closers account, as Airflow sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset
    from airflow.providers.common.compat.sdk import Asset

SCHEME = "closers"
_PATH = "/prospects"


def create_asset(*, host: str = "api.closershq.io", extra: dict[str, Any] | None = None) -> Asset:
    """
    Return the asset of an account's prospects, to be declared as an outlet or to schedule a DAG by.

    :param host: The host of the connection's base URL, with its port where it names one.
    :param extra: What Airflow keeps with the asset.
    :raises ValueError: The host is a whole URL, or none.
    """
    if not host or set("/@?#") & set(host):
        raise ValueError(
            f"create_asset takes the host and port alone, such as 'api.closershq.io' or '127.0.0.1:8765'; "
            f"{'it is empty' if not host else 'what it was given has more'}."
        )
    from airflow.providers.common.compat.sdk import Asset

    # Its name is the URI as it is given here: of two names for one URI Airflow lets only one be an outlet.
    return Asset(uri=f"{SCHEME}://{host.lower()}{_PATH}", extra=extra or {})


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Return the one spelling of an asset's URI; Airflow calls this for each URI of the scheme.

    :raises ValueError: It is not ``closers://<host>/prospects``.
    """
    if not uri.netloc or "@" in uri.netloc or uri.path.rstrip("/") != _PATH or uri.query or uri.fragment:
        raise ValueError(f"The URI of a Closers asset is {SCHEME}://<host>{_PATH}, without anything more.")
    return uri._replace(netloc=uri.netloc.lower(), path=_PATH)


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> OpenLineageDataset:  # noqa: ARG001
    """Return the OpenLineage dataset of an asset; its provider calls this."""
    return prospects_dataset(urlsplit(asset.uri).netloc)


def prospects_dataset(host: str) -> OpenLineageDataset:
    """Return the OpenLineage dataset of an account's prospects; needs the OpenLineage provider."""
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset

    return OpenLineageDataset(namespace=f"{SCHEME}://{host}", name="prospects")


def note_on_outlets(outlets: Iterable[Any], context: Any, extra: dict[str, Any]) -> None:
    """
    Add to the events of a task's Closers assets what its push came to.

    :param outlets: What the DAG's author declared; assets of another scheme are left alone.
    :param context: What Airflow gives the task.
    :param extra: The push's counts.
    """
    events = context.get("outlet_events")
    if events is None:  # executed outside of Airflow, which alone has events
        return
    for outlet in outlets:
        if urlsplit(getattr(outlet, "uri", None) or "").scheme == SCHEME:
            events[outlet].extra = extra
