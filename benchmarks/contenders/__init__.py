"""
Whoever sends records. Each is one module with ``prepare(job)``, which returns what sends the rows.

What happens in ``prepare`` (imports, sessions, pools) is not timed. What it returns takes the rows and
returns how many prospects were confirmed. All of them make the request from the row, send the key, and
decode the answer.

- `push`: the provider.
- `aiohttp_tasks`, `urllib3_threads`, `requests_threads`: by hand.
- `http_hook`, `http_operator` (with `dags`): what Airflow's own HTTP provider offers.
- `requests_retry`: by hand, with the customary retries; for the table of the pace.
- `sql_to_closers`, `file_to_closers`: the transfers, which read the rows themselves.
- `reading`: sends nothing.
- `readers`: what reads a source, and the generator where there is none.
- `job`, `rows`, `threads`, `stopwatch`: what they share.
"""
