"""The second wall: a role that sees one organization, through a real pgbouncer in transaction mode too."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from ingest.errors import DatabaseAway
from ingest.migrate import migrate
from ingest.store.tenants import ROLE, Tenants
from tests.ingest.api.world import Organization, World
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import WHOLE, build
from tests.servers.pgbouncer import PgBouncer, executable
from tests.servers.postgres import PostgresServer

READABLE = [
    "public.devices", "public.device_integrations", "public.device_firmware_history", "public.firmware_artifacts",
    "public.device_credentials", "public.sync_conflicts", "rollcall.device_state", "rollcall.device_firmware",
    "rollcall.device_readings", "rollcall.device_facts", "rollcall.device_events", "rollcall.device_identity",
    "rollcall.field_errors", "rollcall.dead_letters", "rollcall.parked_devices", "rollcall.deployments",
    "rollcall.api_requests",
]  # fmt: skip
SEEN = "select count(*) from (select organization_id from devices) d"


@pytest.fixture
async def bouncer(postgres_server: PostgresServer) -> AsyncIterator[PgBouncer]:
    if executable() is None and not os.environ.get("CI"):
        pytest.skip("no pgbouncer here: install Debian's pgbouncer")
    bouncer = PgBouncer(postgres_server)
    bouncer.start()
    yield bouncer
    bouncer.stop()


async def test_a_column_that_a_table_of_ours_gets_later_is_seen_and_one_of_the_platforms_is_not(
    database: str,
) -> None:
    for table in ("rollcall.device_readings", "public.devices", "public.firmware_artifacts"):
        await run(database, f"alter table {table} add column later text")
    seen = await run(
        database,
        f"""select t, has_column_privilege('{ROLE}', t, 'later', 'select')
        from unnest('{{rollcall.device_readings,public.devices,public.firmware_artifacts}}'::text[]) as t""",
    )
    assert [table for table, may_read in seen if may_read] == ["rollcall.device_readings"]


async def test_through_a_transaction_pooler_each_transaction_sees_its_own_organization(
    database: str, bouncer: PgBouncer, world: World, acme: Organization, other: Organization
) -> None:
    async with asyncpg.create_pool(
        bouncer.dsn(database.rpartition("/")[2]), min_size=1, max_size=8, statement_cache_size=0
    ) as pool:
        tenants = await Tenants.probed(pool)
        assert tenants.role == ROLE

        async def seen(made: Organization) -> Any:
            async with tenants.of(made.id) as connection:
                return await connection.fetchrow(
                    "select current_user::text as who, array_agg(organization_id) as whose from devices"
                )

        rounds = [acme, other] * 25
        for made, row in zip(rounds, await asyncio.gather(*map(seen, rounds)), strict=True):
            assert (row["who"], row["whose"]) == (ROLE, [made.id])
        # nothing of it stays on the shared session
        left = "select current_user::text as who, current_setting('rollcall.organization', true) as whose"
        for row in await asyncio.gather(*(pool.fetchrow(left) for _ in range(20))):
            assert (row["who"], row["whose"] or None) == ("postgres", None)
            assert await pool.fetchval("select count(*) from devices") == 2


@pytest.mark.parametrize("table", READABLE)
async def test_a_query_that_forgets_the_organization_sees_no_other(
    table: str, world: World, acme: Organization, other: Organization
) -> None:
    await _something_everywhere(world)
    everything = await world.pool.fetchval(f"select count(*) from {table}")
    async with Tenants(world.pool).of(acme.id) as connection:
        mine = await connection.fetchval(f"select count(*) from (select 1 from {table}) t")
    async with Tenants(world.pool).of(other.id) as connection:
        theirs = await connection.fetchval(f"select count(*) from (select 1 from {table}) t")
    assert mine >= 1
    assert theirs >= 1
    assert mine + theirs == everything


async def _something_everywhere(world: World) -> None:
    for statement in (
        "insert into rollcall.device_state (device_id) select id from devices",
        "insert into rollcall.device_firmware (device_id, component, version, at)"
        " select id, 'main', '1', 1 from devices",
        "insert into rollcall.device_readings (device_id, name, value, unit, at) select id, 't', 1, '', 1 from devices",
        "insert into rollcall.field_errors (device_id, field, value, reason, at)"
        " select id, 'f', '', '', 1 from devices",
        "insert into rollcall.device_facts (device_id, field, remote, remote_at)"
        " select id, 'name', '1', 1 from devices",
        "insert into rollcall.device_events (subject, kind, at, source) select id, 'online', now(), 'x' from devices",
        "insert into rollcall.device_events (subject, kind, at, source) select id, 'gap', now(), 'x' from"
        " device_integrations",
        "insert into rollcall.device_identity (integration_id, external_device_id, device_id)"
        " select integration_id, 'e', id from devices",
        "insert into device_firmware_history (device_id, firmware_version) select id, '1' from devices",
        "insert into rollcall.api_requests (organization_id, key, digest) select id, 'k', '' from organizations",
        "insert into rollcall.deployments (id, organization_id, device_id, integration_id, artifact_id, component,"
        " version, requested_by, deadline_at) select gen_random_uuid(), organization_id, id, integration_id,"
        " gen_random_uuid(), 'main', '1', 'x', now() from devices",
    ):
        await world.pool.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "select * from rollcall.api_tokens",
        "select api_key_encrypted from device_integrations",
        "select settings from device_integrations",
        "update devices set organization_id = '{other}'",
        "update devices set status = 'online'",
        "delete from devices",
        "select * from rollcall.mqtt_digests",
        "select * from device_credential_access_log",
        "delete from device_credential_access_log",
        "insert into devices (organization_id, name, device_type) values ('{other}', 'x', 'y')",
        "insert into rollcall.device_events (subject, kind, at, source) values ('{device}', 'x', now(), 'x')",
        "create table public.mine ()",
    ],
)
async def test_the_role_may_not(
    statement: str, world: World, acme: Organization, other: Organization
) -> None:
    with pytest.raises(DatabaseAway, match=r"^42501"):
        async with Tenants(world.pool).of(acme.id) as connection:
            await connection.execute(statement.format(other=other.id, device=other.device))


async def test_without_an_organization_the_role_sees_nothing(world: World, acme: Organization) -> None:
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"set local role {ROLE}")
        for table in READABLE:
            assert await connection.fetchval(f"select count(*) from (select 1 from {table}) t") == 0, table


async def test_the_role_can_neither_log_in_nor_bypass_policies(world: World) -> None:
    row = await world.pool.fetchrow(
        "select rolcanlogin, rolbypassrls, rolsuper, rolinherit, rolcreaterole from pg_roles where rolname = $1",
        ROLE,
    )
    assert not any(row)


async def test_on_the_platforms_own_database_the_role_sees_devices_and_others_see_what_they_saw(
    empty_database: str,
) -> None:
    await build(empty_database, WHOLE)
    organization = (await run(empty_database, "select organization_id from devices limit 1"))[0][0]
    before = "set role authenticated; select set_config('app.organization', '{}', false)"
    await migrate(empty_database)
    async with asyncpg.create_pool(empty_database, min_size=1, max_size=2) as pool:
        tenants = await Tenants.probed(pool)
        # their policy for `authenticated` still hides, and ours shows to our role alone
        async with tenants.of(organization) as connection:
            assert await connection.fetchval("select count(id) from devices") == 2
        async with pool.acquire() as connection:
            await connection.execute(before.format("00000000-0000-0000-0000-0000000000ff"))
            assert await connection.fetchval("select count(*) from devices") == 0
            await connection.execute("reset role")


async def test_a_role_that_cannot_be_used_is_said_and_done_without(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    await run(database, "insert into organizations (name, slug) values ('a', 'a')")
    await run(
        database,
        "insert into devices (organization_id, name, device_type) select id, 'd', 'x' from organizations",
    )
    await run(database, "drop policy rollcall_api on devices")
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        assert (await Tenants.probed(pool)).role is None
    assert "open_to_api" in caplog.text


async def test_a_service_that_is_no_superuser_needs_to_be_a_member_of_the_role(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    login = f"service_{os.getpid()}"
    await run(database, f"create role {login} login")
    try:
        await run(database, f"grant usage on schema rollcall to {login}")
        await run(database, f"grant select on devices to {login}")
        async with asyncpg.create_pool(
            database.replace("postgres@", f"{login}@"), min_size=1, max_size=2
        ) as pool:
            assert (await Tenants.probed(pool)).role is None
            assert "set role" in caplog.text
            await run(database, f"grant {ROLE} to {login}")
            assert (await Tenants.probed(pool)).role == ROLE
    finally:
        await run(database, f"drop owned by {login}")
        await run(database, f"drop role {login}")
