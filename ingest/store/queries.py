"""The named blocks of schema/queries, from all its files."""

from functools import cache
from pathlib import Path

import ingest

FOLDER = Path(ingest.__file__).parent.parent / "schema" / "queries"


@cache
def queries() -> dict[str, str]:
    """Return statement by name.

    Raises: ValueError for a block without a name, or a name that comes twice in one file or in two.
    """
    return read(FOLDER)


def read(folder: Path) -> dict[str, str]:
    """Read the blocks of a folder. Raises: see queries."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.sql")):
        for block in file.read_text(encoding="utf-8").split("-- name: ")[1:]:
            name, _, statement = block.partition("\n")
            if not name.strip() or name.strip() in found:
                raise ValueError(f"{file.name}: the block name {name.strip()!r} is empty or comes twice")
            found[name.strip()] = statement.strip().rstrip(";")
    return found
