"""``python -m airflow_provider_closers.sandbox``: serve the sandbox until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import sys
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo

MISSING_EXTRA = (
    "The sandbox needs FastAPI and uvicorn, which are not installed: "
    "pip install 'airflow-provider-closers[sandbox]'"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the sandbox.

    :param arguments: The command line; the process's own by default.
    :return: The exit code.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        sys.stderr.write(MISSING_EXTRA + "\n")
        return 1
    return _serve(arguments)


def _serve(arguments: Sequence[str] | None) -> int:
    from pydantic import ValidationError

    from airflow_provider_closers.sandbox.app import is_loopback
    from airflow_provider_closers.sandbox.misbehaviour import Settings
    from airflow_provider_closers.sandbox.server import UvicornServer, listen, url_of
    from airflow_provider_closers.sandbox.state import DEFAULT_API_KEY, SandboxState

    parser = _parser()
    options = vars(parser.parse_args(arguments))
    host: str = options["host"]
    if not options["allow_remote"] and not is_loopback(host):
        parser.error(
            f"{host} can be reached from other machines, and the sandbox has no access control; "
            "--allow-remote serves there all the same"
        )
    try:
        settings = Settings(**{name: options[name] for name in Settings.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        parser.error(f"argument {_switch(str(first['loc'][0]))}: {first['msg']}")
    state = SandboxState(
        api_key=options["api_key"],
        settings=settings,
        journal_size=options["journal_size"],
        seed=options["seed"],
    )
    try:
        listener = listen(host, options["port"])
    except OSError as error:
        parser.exit(1, f"Can't listen on {host}, port {options['port']}: {error.strerror or error}\n")
    if not options["quiet"]:
        # A key of the user's own may be a real one: it does not belong on a screen or in a log.
        key = options["api_key"] if options["api_key"] == DEFAULT_API_KEY else "as given"
        sys.stdout.write(f"Closers sandbox at {url_of(listener)}/ (API key: {key})\n")
        sys.stdout.flush()
    # uvicorn sends itself the signal again that it was stopped by; Ctrl-C is how one ends the sandbox.
    with contextlib.suppress(KeyboardInterrupt):
        UvicornServer(state, allow_remote=options["allow_remote"]).run(sockets=[listener])
    return 0


def _parser() -> argparse.ArgumentParser:
    from airflow_provider_closers.sandbox.misbehaviour import Settings
    from airflow_provider_closers.sandbox.state import DEFAULT_API_KEY, DEFAULT_JOURNAL_SIZE

    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_closers.sandbox",
        description="Serve a local Closers API that keeps the documented contract.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8765, help="0 takes one that is free (%(default)s)")
    parser.add_argument("--api-key", default=DEFAULT_API_KEY, help="the key to accept (%(default)s)")
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="listen on an address, and serve host names, beyond this machine's own",
    )
    parser.add_argument(
        "--journal-size",
        type=_positive,
        default=DEFAULT_JOURNAL_SIZE,
        metavar="N",
        help="how many requests are kept in full (%(default)s)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="make what is left to chance repeatable")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    group = parser.add_argument_group(
        "misbehaviour",
        "What the documentation leaves open, and what can go wrong; can be changed while running.",
    )
    for name, field in Settings.model_fields.items():
        group.add_argument(_switch(name), **_argument(field))
    return parser


def _argument(field: FieldInfo) -> dict[str, Any]:
    """Return how argparse takes a setting: which values are allowed is left to the settings themselves."""
    if field.annotation is bool:
        return {"action": "store_true", "default": field.default, "help": field.description}
    text = f"{field.description} ({field.default})" if field.default is not None else field.description
    if get_origin(field.annotation) is Literal:
        return {"choices": get_args(field.annotation), "default": field.default, "help": text}
    kind = next(kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not NoneType)
    return {"type": kind, "default": field.default, "metavar": "N", "help": text}


def _switch(setting: str) -> str:
    return "--" + setting.replace("_", "-")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise ValueError
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
