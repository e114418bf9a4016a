"""The command line. One file a command group; each command reads its settings, does its work and prints.

Exit codes: 0 done or stopped; 1 misconfigured, a person must change something; 2 the command line itself is wrong;
3 unavailable, something we depend on is away.
"""

import logging
import sys

import typer

from ingest.cli import (
    audit,
    dead_letters,
    devices,
    integration,
    keys,
    migrate,
    run,
    simulate,
    sync,
    token,
    unknown,
    up,
    version,
)
from ingest.cli.output import fail, visible
from ingest.errors import Misconfigured, Refused, RollcallError
from ingest.log import OneLine, traceback_of


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
    app.add_typer(keys.app, name="keys")
    app.command("audit")(audit.audit)
    app.command("sync")(sync.sync)
    app.add_typer(token.app, name="token")
    app.command("migrate")(migrate.migrate)
    app.command("simulate")(simulate.simulate)
    app.command("up")(up.up)
    return app


def main() -> None:
    """Run the command line and exit with its code."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(OneLine())  # what commands log, which configure no log
    try:
        application()()
    except RollcallError as error:
        fail(str(error))
        sys.exit(1 if isinstance(error, Misconfigured | Refused) else 3)
    except Exception as error:
        sys.stderr.write(visible(traceback_of(error)))
        sys.exit(1)


def _about() -> None:
    """Keep a fleet's devices table true: MQTT in, Postgres rows out."""
