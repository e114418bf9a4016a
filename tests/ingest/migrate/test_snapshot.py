from pathlib import Path

import ingest
from ingest.migrate.snapshot import snapshot

SNAPSHOT = Path(ingest.__file__).parent.parent / "schema" / "snapshot.sql"


async def test_the_migrations_make_what_the_snapshot_says(database: str) -> None:
    made = await snapshot(database)
    assert made == SNAPSHOT.read_text(), (
        "the schema changed: review the difference, then `python -m ingest.migrate.snapshot DSN > schema/snapshot.sql`"
    )
