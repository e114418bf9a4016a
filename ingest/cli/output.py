"""Output of commands: a table for people, JSON for programs, errors to stderr.

The library that draws is imported when something is drawn: `rollcall run` draws nothing, and starts sooner.
"""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ingest.log import ON_ONE_LINE, ON_TERMINAL

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]
_IN_JSON = {code: f"\\u{code:04x}" for code in ON_TERMINAL}


def fail(message: str) -> None:
    """Print an error to stderr."""
    print(f"rollcall: {visible(message)}", file=sys.stderr)


def say(text: str) -> None:
    """Print lines to stdout."""
    print(visible(text), flush=True)


def visible(text: str) -> str:
    """Return a text whose control characters, of terminals and of writing directions, are written out.

    Source: ECMA-48 (C0, C1); Unicode Standard Annex 9.
    """
    return text.translate(ON_TERMINAL)


def print_json(value: Any) -> None:
    """Print `value` as JSON; times as ISO 8601, bytes as text. On a terminal control characters are escaped, too."""
    text = json.dumps(value, indent=2, default=_plain, ensure_ascii=False)
    print(text.translate(_IN_JSON) if sys.stdout.isatty() else text)


def print_rows(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: as JSON all of their columns, else a table of the named ones."""
    if as_json:
        print_json(rows)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(formatted(row[column])) for column in columns))
    console().print(table if rows else "none")


def print_row(row: Row, *, as_json: bool) -> None:
    """Print one row: as JSON, or a line a column."""
    if as_json:
        print_json(row)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in row.items():
        table.add_row(Text(visible(name), style="bold"), Text(formatted(value)))
    console().print(table)


def console() -> "Console":
    """Return a console that cuts nothing off when its output is read by a program."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def formatted(value: Any) -> str:
    """Return a value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, dict | list):
        return json.dumps(value, default=_plain).translate(ON_ONE_LINE)
    text = str(_plain(value)) if isinstance(value, bytes) else str(value)
    return text.translate(ON_ONE_LINE)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(value)
