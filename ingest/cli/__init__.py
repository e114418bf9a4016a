"""The command line. One file a command group; each command reads its settings, does its work and prints.

Exit codes: 0 done or stopped; 1 misconfigured, a person must change something; 2 the command line itself is wrong;
3 unavailable, something we depend on is away.
"""

import contextlib
import importlib
import sys

import typer

from ingest.cli import dead_letters, devices, integration, run, unknown, version
from ingest.cli.output import fail
from ingest.errors import Misconfigured, RollcallError

OPTIONAL = ("migrate", "simulate", "up")
"""Commands whose module may need an extra that is not installed: `pip install 'rollcall[local]'`."""


def application() -> typer.Typer:
    """Return the application with every command."""
    app = typer.Typer(
        name="rollcall", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    app.callback()(_about)
    app.command("run")(run.run)
    app.command("version")(version.version)
    app.add_typer(integration.app, name="integration")
    app.add_typer(devices.app, name="devices")
    app.add_typer(dead_letters.app, name="dead-letters")
    app.add_typer(unknown.app, name="unknown")
    for name in OPTIONAL:
        with contextlib.suppress(ModuleNotFoundError):
            app.command(name)(getattr(importlib.import_module(f"ingest.cli.{name}"), name))
    return app


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        application()()
    except RollcallError as error:
        fail(str(error))
        sys.exit(1 if isinstance(error, Misconfigured) else 3)


def _about() -> None:
    """Keep a fleet's devices table true: MQTT in, Postgres rows out."""
