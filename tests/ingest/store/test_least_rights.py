"""The roles that docker-compose.yml makes: one that owns and migrates, one that the service has."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from ingest.migrate import migrate
from ingest.migrate.platform import check_start
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def new_database(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database, dropped at the end with the roles that postgres/roles.sh makes."""
    postgres_server.psql("create database least_rights template template0")
    yield postgres_server.dsn("least_rights")
    postgres_server.psql("drop database least_rights with (force)")
    for role in ("rollcall", "rollcall_owner"):
        postgres_server.psql(f"drop role if exists {role}")


async def test_the_service_works_as_the_role_of_least_rights_and_cannot_change_a_table(
    postgres_server: PostgresServer, mosquitto: MosquittoServer, new_database: str
) -> None:
    """postgres/roles.sh in a database of its own, `migrate` as the owner, `run` as the service."""
    name = new_database.rpartition("/")[2]
    environment = {
        **os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(postgres_server.port), "POSTGRES_USER": "postgres",
        "POSTGRES_DB": name, "OWNER_PASSWORD": "o'wner", "SERVICE_PASSWORD": "ser vice",
        "PATH": f"{postgres_server.bin_dir}:{os.environ['PATH']}",
    }  # fmt: skip
    subprocess.run(["sh", ROOT / "postgres/roles.sh"], env=environment, check=True, timeout=30)
    await migrate(postgres_server.dsn(name, user="rollcall_owner"))
    ours = postgres_server.dsn(name, user="rollcall")
    await check_start(ours, ours)
    async with running(ours, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", b'{"battery": 41, "firmware": "1.2.0"}')
        await service.sees("select battery_level from devices", 41)
        await service.publish("devices/d1/connection", b"offline")
        await service.sees("select status::text from devices", "offline")
        assert (await service.ready()).status_code == 200
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.pool.execute("alter table devices add column mine int")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.pool.execute("create table mine (n int)")
        super_user = (
            "select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = current_user"
        )
        assert not await service.pool.fetchval(super_user)
