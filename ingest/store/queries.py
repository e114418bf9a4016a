"""The named blocks of schema/queries.sql."""

from functools import cache
from pathlib import Path

import ingest

FILE = Path(ingest.__file__).parent.parent / "schema" / "queries.sql"


@cache
def queries() -> dict[str, str]:
    """Return statement by name.

    Raises: ValueError for a block without a name or a name that comes twice.
    """
    found: dict[str, str] = {}
    for block in FILE.read_text(encoding="utf-8").split("-- name: ")[1:]:
        name, _, statement = block.partition("\n")
        if not name.strip() or name.strip() in found:
            raise ValueError(f"{FILE.name}: the block name {name.strip()!r} is empty or comes twice")
        found[name.strip()] = statement.strip().rstrip(";")
    return found
