"""The rows of field errors: the newest of each field, a bounded number a device, for a bounded time."""

import time

import asyncpg

from ingest.store.commit.field_errors import KEPT, FieldErrorRow, FieldErrorRows
from ingest.store.commit.retention import FIELD_ERRORS_KEPT_DAYS, Retention
from tests.ingest.store.world import DEVICE, World

DAY = 86_400 * 1_000_000


async def fields(pool: asyncpg.Pool) -> dict[str, str]:
    rows = await pool.fetch("select field, value from rollcall.field_errors")
    return {row["field"]: row["value"] for row in rows}


async def test_an_older_error_does_not_replace_a_newer_one(pool: asyncpg.Pool) -> None:
    await World(pool).reset()
    kept = FieldErrorRows(pool)
    for at, value in ((5, "new"), (4, "old")):
        await kept.keep([FieldErrorRow(DEVICE, "battery", value, "is odd", at)])
    assert await fields(pool) == {"battery": "new"}


async def test_invented_fields_do_not_grow_beyond_their_bound(pool: asyncpg.Pool) -> None:
    await World(pool).reset()
    kept = FieldErrorRows(pool)
    for first in range(0, 200, 20):
        await kept.keep([FieldErrorRow(DEVICE, f"x{n}", "", "is odd", n) for n in range(first, first + 20)])
    assert set(await fields(pool)) == {f"x{n}" for n in range(200 - KEPT, 200)}


async def test_what_is_too_old_does_not_stay(pool: asyncpg.Pool) -> None:
    await World(pool).reset()
    now = int(time.time() * 1_000_000)
    ages = {f"x{days}": days for days in range(FIELD_ERRORS_KEPT_DAYS - 5, FIELD_ERRORS_KEPT_DAYS + 6)}
    rows = [FieldErrorRow(DEVICE, name, "", "", now - days * DAY + DAY // 2) for name, days in ages.items()]
    await FieldErrorRows(pool).keep(rows)
    await Retention(pool).expire(chunk=2)
    assert set(await fields(pool)) == {name for name, days in ages.items() if days <= FIELD_ERRORS_KEPT_DAYS}


async def test_a_device_that_is_gone_does_not_fail_those_beside_it(pool: asyncpg.Pool) -> None:
    world = World(pool)
    await world.reset()
    rows = [FieldErrorRow(one, "battery", "300", "is odd", 1) for one in (world.integration, DEVICE)]
    await FieldErrorRows(pool).keep(rows)
    assert await pool.fetchval("select array_agg(device_id) from rollcall.field_errors") == [DEVICE]
