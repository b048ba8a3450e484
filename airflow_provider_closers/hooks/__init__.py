"""The hook: a connection, single calls and pushes."""
