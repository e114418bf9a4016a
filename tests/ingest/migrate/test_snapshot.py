from ingest.migrate import migrate
from ingest.migrate.snapshot import SNAPSHOT, snapshot


async def test_the_migrations_make_what_the_snapshot_says(database: str) -> None:
    made = await snapshot(database)
    assert made == SNAPSHOT.read_text(), (
        "the schema changed: review the difference, then `python -m ingest.migrate.snapshot --write`"
    )


async def test_postgres_15_with_another_collation_makes_the_same(database_15: str) -> None:
    await migrate(database_15)
    assert await snapshot(database_15) == SNAPSHOT.read_text()
