"""
What `make demo` and `make ui` run. No part of the provider, and no example to copy.

- `night`: `make demo`. One night of `closers_nightly_leads`, and an account of it.
- `ui`: `make ui`. Airflow's web interface beside the sandbox's page.
- `account`: how such an account is printed.
- `airflow_home`: an Airflow that lives inside the checkout.
- `components`: the processes of such an Airflow.
- `rest_api`: what is asked of it while it runs.
- `run_dag`: what `night` runs in that Airflow.
- `earlier_import`: what Closers holds before the first night.
"""
