"""
Where the records of a transfer come from. Imports no Airflow.

- ``files``: the records of files, whichever format each of them has.
- ``finding``: the files that a path stands for: itself, what is in a folder, what matches a pattern.
- ``content``: what is in a file, unzipped.
- ``lines``: a text's lines, in bounded memory, those that can't be read among them.
- ``columns``: the names of a table's columns.

One room per format:

- ``csv_records``, ``json_lines``, ``parquet``

And without files:

- ``sql``: the rows of a query.
"""
