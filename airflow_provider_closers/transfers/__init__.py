"""Transfers: a push whose records come from a database or from files."""
