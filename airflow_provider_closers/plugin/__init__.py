"""
The plugin: pushes in Airflow's web interface (3.1 and later), as a page and as a tab of each task instance.

- ``registration``: what Airflow loads in every process; imports nothing that serves.
- ``app``: who may ask for what: the page and its JSON, under ``/closers``.
- ``queries``: which task instances are pushes, and what Airflow's database says of them.
- ``reports``: what counts as a report, its small form, and the sum of several.
- ``static``: the page, served as it is.
"""
