"""`make cluster-check`: run the mapped example on two Celery workers, kill one, and account for it."""

from __future__ import annotations

import json
import signal
import sys
import time
from importlib import metadata

from demo import earlier_import
from demo.account import print_checks
from demo.airflow_home import AirflowFailedError
from demo.rest_api import RestApi, RestApiError

from airflow_provider_closers.sandbox.server import SandboxServer
from tests.cluster import account, airflow_cluster
from tests.cluster.airflow_cluster import HEARTBEAT_TIMEOUT, LOGS, WORKER_CONCURRENCY, WORKERS, Cluster
from tests.cluster.chunked_run import DAG_ID, POOL, PUSH, ChunkedRun
from tests.cluster.watch import Watch

#: More than one worker takes, so that both push at once, and fewer than both together could take.
SLOTS = 3
#: Requests per second: what one push sends at most, and what the account takes. All slots together
#: leave some room, since requests don't arrive as evenly as they leave.
PACE = 11
ACCOUNT_LIMIT = 40
MAX_CONCURRENCY = 4
ALLOWED = account.Allowed(requests_per_second=ACCOUNT_LIMIT, pushes_at_once=SLOTS, window=4 * MAX_CONCURRENCY)
#: Seconds before a request takes effect, so that some are in flight when the worker is killed.
LATENCY = 0.1

#: With so many requests behind it each push is well under way, and has saved how far it got.
REQUESTS_BEFORE_KILL = 50
#: Seconds. It takes one.
RUN_TIMEOUT = 300


def main() -> int:
    """Run the check and print the account; 0 where it is as it should be."""
    # A terminal that knows no check mark shows a question mark.
    sys.stdout.reconfigure(errors="replace")
    if missing := airflow_cluster.missing_packages():
        packages = " ".join(missing)
        print(f"The check needs servers that are not installed: apt-get install {packages}", file=sys.stderr)
        return 2
    # A closed terminal and a `kill` end it as Ctrl-C does.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        return 0 if check() else 1
    except (AirflowFailedError, RestApiError) as e:
        print(f"\n{e}\nAll logs are in {LOGS}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nAll stopped.")
        return 130


def check() -> bool:
    """
    Run the example on a cluster, and tell whether its account is right.

    :raises AirflowFailedError: The cluster did not come up, or the run did not end green in time.
    """
    version = metadata.version("apache-airflow")
    print(f"Starting Airflow {version} with PostgreSQL, Redis and two Celery workers", flush=True)
    sandbox_server = SandboxServer(requests_per_second=ACCOUNT_LIMIT, latency=LATENCY)
    with sandbox_server as sandbox, airflow_cluster.airflow_cluster() as cluster:
        held = earlier_import.prospects()
        sandbox.add_prospects(held)
        configure(cluster.api, sandbox)
        cluster.wait_until_it_knows(DAG_ID)
        print(
            f"{DAG_ID}: {len(WORKERS)} workers of {WORKER_CONCURRENCY} processes, a pool of {SLOTS} slots,\n"
            f"{PACE} requests/s a push, into a sandbox of Closers that takes {ACCOUNT_LIMIT}/s\n",
            flush=True,
        )
        run = ChunkedRun(cluster.api)
        observed = run_and_kill(run, cluster, sandbox)
        journal = sandbox.journal()
        chunks = [account.chunk_of(push, journal, observed) for push in run.pushes()]
        agreements = account.agreements(chunks, held, sandbox)
        limits = account.limits(chunks, ALLOWED, observed, sandbox)
    account.print_pushes(chunks, observed.workers)
    print_checks("reported", agreements)
    print_checks("allowed", limits)
    is_right = all(check.agrees for check in (*agreements, *limits))
    if not is_right:
        print(f"\nAll logs are in {LOGS}")
    return is_right


def configure(api: RestApi, sandbox: SandboxServer) -> None:
    """Give Airflow the connection and the pool."""
    extra = {"requests_per_second": PACE, "max_concurrency": MAX_CONCURRENCY}
    connection = {
        "connection_id": "closers_default",
        "conn_type": "closers",
        "host": sandbox.url,
        "password": sandbox.api_key,
        "extra": json.dumps(extra),
    }
    api.put("/connections", "closers_default", connection)
    api.put("/pools", POOL, {"name": POOL, "slots": SLOTS, "include_deferred": False})


def run_and_kill(run: ChunkedRun, cluster: Cluster, sandbox: SandboxServer) -> account.Observed:
    """
    Watch the run to its end, and kill a worker on the way.

    :raises AirflowFailedError: It did not end green in time.
    """
    watch = Watch(run, cluster.components, RUN_TIMEOUT)

    def are_all_under_way() -> bool:
        journal = sandbox.journal()
        return len(watch.running) == SLOTS and all(
            len(account.requests_for(run.chunks[index], journal)) >= REQUESTS_BEFORE_KILL
            for index in watch.running
        )

    watch.until(are_all_under_way)
    worker, killed = watch.kill_busiest_worker()
    killed_at = time.monotonic()
    names = " and ".join(f"{PUSH}[{index}]" for index in sorted(killed))
    tell(watch, f"{worker} is killed with {names}, {len(sandbox.journal())} requests into the run")
    watch.until(lambda: not watch.unnoticed)
    tell(watch, f"Airflow has noticed ({HEARTBEAT_TIMEOUT} s after the last heartbeat)")
    watch.until(lambda: watch.state == "success")
    tell(watch, "the run has ended green")
    return account.Observed(killed_at, killed, watch.most_running, watch.workers)


def tell(watch: Watch, what: str) -> None:
    """Print what happened, and when."""
    print(f"{watch.seconds:5.1f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
