"""
The engine: applies one operation to a stream of records. Imports no Airflow.

From the outside in:

- ``source``: what may be given as ``prospects``.
- ``engine``: one push: reads the input, and accounts for every record of it.
- ``reading``: from a record to a prospect, by the user's transform and the record rules.
- ``window``: the records under way: which request leaves next, when, and what its answer comes to.
- ``journey``: the requests that settle one record, per operation.
- ``call``: one request on its own, outside of a push.

What the window decides by, each without threads or I/O:

- ``pace``: how fast a push may send.
- ``retry``: whether to send a request again, and when.
- ``outage``: whether the API is out of order.

What comes of it:

- ``report``: outcomes, rejects and counts.
- ``history``: how it went over time, in a few dozen moments.
- ``progress``: how a push goes, in words for the log.
- ``rejects``: the rejects' file.
- ``checkpoint``: where a push stands, so that a later try can go on from there.
- ``saver``: when rejects and checkpoint are saved, and what they say of records under way.
"""
