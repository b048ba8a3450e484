"""
The engine: applies one operation to a stream of records. Imports no Airflow.

- ``source``: what may be given as ``prospects``.
- ``journey``: the requests that settle one record, per operation.
- ``retry``: whether to try again, and when.
- ``pace``: how fast the push as a whole may send.
- ``engine``: the window of records in flight, and the accounting.
- ``report``: outcomes, rejects and counts.
- ``rejects``: the rejects' file.
- ``checkpoint``: where a push stands, so that a later try can go on from there.
"""
