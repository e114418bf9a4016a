"""Bounds of what is kept: the timeline by age, dead letters by count and age, parked devices by age."""

import asyncpg

from ingest.store.commit.retention import DEAD_LETTERS_KEPT, EVENTS_KEPT_DAYS, Retention
from tests.ingest.store.world import World


async def test_a_flood_of_dead_letters_is_bounded_by_kind_and_the_evictions_are_counted(
    database: str,
) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        await World(pool).reset()
        insert = (
            "insert into rollcall.dead_letters (id, integration_id, session, topic, qos, retain, received_at,"
            " kind, error, payload, recorded_at)"
            " select gen_random_uuid(), i.id, 's', 't', 1, false, n, $1, 'e', ''::bytea,"
            " now() - n * interval '1 second' from device_integrations i, generate_series(1, $2::int) n"
        )
        await pool.execute(insert, "json", DEAD_LETTERS_KEPT + 5_000)
        await pool.execute(insert, "rare", 1)
        await Retention(pool).expire()
        rows = await pool.fetch(
            "select kind, count(*), max(received_at) from rollcall.dead_letters group by 1 order by 1"
        )
        assert [tuple(row) for row in rows] == [
            ("json", DEAD_LETTERS_KEPT, DEAD_LETTERS_KEPT),
            ("rare", 1, 1),
        ]
        assert await pool.fetchval("select dead_letters_evicted from rollcall.integration_counts") == 5_000


async def test_the_timeline_is_kept_for_its_days_and_no_longer(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        await pool.execute(
            "insert into rollcall.device_events (subject, kind, at, source, recorded_at)"
            " select gen_random_uuid(), 'online', now(), 'mqtt', now() - make_interval(days => n)"
            " from generate_series(1, $1::int + 50) n",
            EVENTS_KEPT_DAYS,
        )
        await Retention(pool).expire(chunk=7)
        assert await pool.fetchval("select count(*) from rollcall.device_events") in (
            EVENTS_KEPT_DAYS - 1,
            EVENTS_KEPT_DAYS,
        )


async def test_event_ids_and_answers_to_repeated_requests_are_kept_for_a_day(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        await pool.execute(
            "with o as (insert into organizations (name, slug) values ('o', 'o') returning id),"
            " i as (insert into device_integrations (organization_id, integration_type, name)"
            " select id, 'golioth', 'g' from o returning id),"
            " e as (insert into rollcall.webhook_events (integration_id, event_id, committed_at)"
            " select i.id, n::text, now() - make_interval(hours => n) from i, generate_series(1, 47) n)"
            " insert into rollcall.api_requests (organization_id, key, digest, created_at)"
            " select o.id, n::text, '', now() - make_interval(hours => n) from o, generate_series(1, 47) n"
        )
        await Retention(pool).expire(chunk=7)
        for table in ("webhook_events", "api_requests"):
            assert await pool.fetchval(f"select count(*) from rollcall.{table}") in (23, 24), table
