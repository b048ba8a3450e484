"""
What `make bench` runs: the provider beside what one would take otherwise. See README.md.

- `throughput`, `pace`, `memory`, `transfers`, `suppression`: the tables.
- `inputs`: the files and the database that the transfers read.
- `contenders`: whoever sends records, each a process of its own, and its side of a run.
- `run`: the harness's side of a run.
- `server`: the sandbox as a process of its own.
- `airflow_home`: an Airflow for those contenders that need one.
- `vitals`: CPU time and memory of a process.
- `machine`: where all this ran, and with which versions.
- `table`: how the tables are written.
"""
