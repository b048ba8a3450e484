"""
`make cluster-check`: the mapped example on a cluster, one of whose workers is killed.

- `__main__`: the check from its start to its end.
- `airflow_cluster`: an Airflow with PostgreSQL, Redis and Celery workers, for as long as that takes.
- `chunked_run`: one run of the example, as Airflow's REST API shows it.
- `watch`: watches it while it goes on, and kills a worker.
- `account`: what Airflow's reports and the sandbox's journal have to agree on, in print.
"""

import sys
from pathlib import Path

# The demo's Airflow, and the servers that tests start and throw away.
sys.path += [str(Path(__file__).parents[2] / "example_dags"), str(Path(__file__).parents[1] / "stand_ins")]
