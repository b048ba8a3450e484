"""
The suppression list: addresses that must not be contacted again. Imports no Airflow.

- ``listing``: a list in memory, which grows.
- ``entry``: what stands in a line, and the form in which addresses are compared.
- ``index``: many entries in little memory.
- ``files``: where a list is kept, and how several processes add to it at once.
- ``importing``: from others' files of addresses to a list.
- ``__main__``: the command, which alone asks Airflow for something.
"""

from airflow_provider_closers.suppression.listing import SuppressionList

__all__ = ["SuppressionList"]
