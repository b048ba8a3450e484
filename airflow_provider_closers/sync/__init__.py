"""
The sync: makes the CRM follow a source, and sends only what changed. Imports no Airflow.

From the outside in:

- ``run``: one sync: reads the source, checks the limits, pushes what changed, keeps the snapshot.
- ``plan``: what has to be done: the source beside the snapshot.
- ``changes``: one thing to do, and the requests that do it.
- ``limits``: what may go missing from a source before somebody has to look.
- ``report``: what became of the source's records, and of those who are gone from it.

What outlives a run:

- ``snapshot``: what the API has confirmed of each person so far.
- ``digests``: what the snapshot holds in place of a person's fields.
- ``lock``: keeps a second run out.
"""
