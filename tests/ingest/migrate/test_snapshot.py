from ingest.migrate import migrate
from ingest.migrate.snapshot import SNAPSHOT, snapshot
from tests.servers.postgres import PostgresServer


async def test_the_migrations_make_what_the_snapshot_says(database: str) -> None:
    made = await snapshot(database)
    assert made == SNAPSHOT.read_text(), (
        "the schema changed: review the difference, then `python -m ingest.migrate.snapshot --write`"
    )


async def test_postgres_15_makes_the_same(postgres_15: PostgresServer) -> None:
    postgres_15.psql("create database snapshot")
    await migrate(postgres_15.dsn("snapshot"))
    assert await snapshot(postgres_15.dsn("snapshot")) == SNAPSHOT.read_text()
