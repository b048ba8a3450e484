"""
A local Closers API that keeps the documented contract, and misbehaves when it is told to.

``python -m airflow_provider_closers.sandbox`` serves it; in a test, use
:class:`~airflow_provider_closers.sandbox.server.SandboxServer`. It needs the extra ``[sandbox]``.

Nothing here imports the rest of the provider, and the provider imports nothing from here: otherwise
tests against it would prove only that we agree with ourselves.

- ``contract``: what the documented API accepts, as pure functions.
- ``crm``: the prospects.
- ``misbehaviour``: the settings, the faults to come and the rate limit.
- ``journal``: what was asked and answered.
- ``state``: all of these together, behind one lock.
- ``api``: the three documented operations, as raw ASGI since benchmarks run through it.
- ``control``: the page, and the endpoints under ``/sandbox``.
- ``app``: who may come in, and which of the two they get.
- ``server``: a server in a thread, for tests.
- ``__main__``: the command line.
"""
