"""The rule of presence and of values where people, retained messages and other writers are part of the story."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence
from handlers.sequences import aws_sequence
from ingest.errors import Refused
from ingest.store.commit.batch import Batch, SessionProgress
from ingest.store.commit.outbox import Positions
from ingest.store.errors import translated
from tests.ingest.store.world import DEVICE, EPOCH, World
from tests.strategies import INTEGRATION, OFFLINE_AFTER, START

MINUTE = 60 * SECOND
ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with asyncpg.create_pool(database, min_size=1, max_size=3) as pool:
        made = World(pool)
        await made.reset()
        yield made


def said(second: int, presence: Presence | None = ONLINE, **more: Any) -> Observation:
    at = START + second * SECOND
    return Observation(INTEGRATION, DeviceKey("d"), at, at, at, presence=presence, **more)


async def edit(world: World, **columns: object) -> None:
    """Write the row as a person or the platform does."""
    for column, value in columns.items():
        await world.pool.execute(f"update devices set {column} = $1 where id = $2", value, DEVICE)


async def hear(world: World, since: int, until: int) -> None:
    """Let the integration's session have heard everything in [since, until), seconds after START."""
    await world.pool.execute(
        "insert into rollcall.mqtt_sessions (integration_id, client_id, heard_since, heard_until)"
        " values ($1, 'c', $2, $3)",
        world.integration,
        START + since * SECOND,
        START + until * SECOND,
    )


async def column(world: World, name: str) -> Any:
    return (await world.rows())[name]


@pytest.mark.parametrize(
    "order", [(-2400, -1200, 0), (-1200, -2400, 0), (0, -1200, -2400), (-2400, 0, -1200)]
)
async def test_no_silence_before_the_session_is_derived_whatever_the_order(
    world: World, order: tuple[int, ...]
) -> None:
    await hear(world, -60, 600)
    for second in order:
        await world.apply([said(second)])
    assert await column(world, "last_seen_offline") is None
    assert await column(world, "status") == "online"


async def test_a_silence_that_a_sweep_stored_stays_when_the_session_is_a_later_one(world: World) -> None:
    await hear(world, 0, 2000)
    await world.apply([said(100)])
    await world.sweep()
    silent_at = START + 100 * SECOND + OFFLINE_AFTER
    assert await column(world, "last_seen_offline") == silent_at
    await world.pool.execute("update rollcall.mqtt_sessions set heard_since = $1, heard_until = $2",
        START + 5000 * SECOND, START + 6000 * SECOND)  # fmt: skip
    await world.apply([said(5100)])
    await world.apply([said(4000)])
    assert await column(world, "last_seen_offline") == silent_at
    await world.apply([said(900)])
    assert await column(world, "last_seen_offline") is None, "it was heard in that silence"


async def test_a_retained_offline_that_is_read_again_does_not_take_a_live_device_offline(
    world: World,
) -> None:
    retained = said(100, OFFLINE, snapshot=True)
    await world.apply([said(0), said(50, OFFLINE), said(200)])
    await world.apply([said(300, OFFLINE, snapshot=True)])
    assert await column(world, "status") == "online", (
        "the live word of going is known: this may be the same one"
    )
    await world.reset()
    await world.apply([said(0)])
    await world.apply([retained])
    assert await column(world, "status") == "offline", "nobody was there to hear it"
    await world.apply([said(200)])
    await world.apply([said(300, OFFLINE, snapshot=True)])
    assert await column(world, "status") == "online", (
        "the first one counts: a later one may be the one that is known"
    )


@pytest.mark.parametrize("edited", [40, 60])
async def test_an_observation_that_comes_again_touches_no_edited_value(world: World, edited: int) -> None:
    seen = said(0, battery_level=50, signal_strength=-70)
    await world.apply([seen])
    await edit(world, battery_level=edited, signal_strength=-edited)
    await world.apply([seen])
    assert (await column(world, "battery_level"), await column(world, "signal_strength")) == (edited, -edited)
    await world.apply([said(1, battery_level=51, signal_strength=-71)])
    assert (await column(world, "battery_level"), await column(world, "signal_strength")) == (51, -71)


async def test_a_version_edited_by_hand_yields_to_newer_evidence_of_the_version_that_was_known(
    world: World,
) -> None:
    seen = said(0, firmware=(("main", "v2"),))
    await world.apply([seen])
    await edit(world, firmware_version="typo")
    await world.apply([seen])
    assert await column(world, "firmware_version") == "typo", "it was said before the edit"
    await world.apply([said(-100, firmware=(("main", "v1"),))])
    assert await column(world, "firmware_version") == "typo", "late evidence leaves the present version alone"
    await world.apply([said(1, firmware=(("main", "v2"),))])
    assert await column(world, "firmware_version") == "v2"


async def test_at_first_contact_the_reported_version_is_not_lost_to_the_one_that_the_row_had(
    world: World,
) -> None:
    await edit(world, firmware_version="v1", last_seen=EPOCH + timedelta(microseconds=START - 500 * SECOND))
    await world.apply([said(0, firmware=(("main", "v2"),))])
    rows = await world.rows()
    assert rows["firmware_version"] == "v2"
    assert [(at, version) for _, at, version, _ in rows["installs"]] == [
        (START - 500 * SECOND, "v1"),
        (START, "v2"),
    ]


async def test_a_version_that_comes_after_other_telemetry_is_newer_than_that_of_the_row_before_it(
    world: World,
) -> None:
    await edit(world, firmware_version="v1", last_seen=EPOCH + timedelta(microseconds=START - 500 * SECOND))
    await world.apply([said(100)])
    await world.apply([said(0, firmware=(("main", "v2"),))])
    assert await column(world, "firmware_version") == "v2"


async def test_a_late_row_of_an_old_writer_does_not_replace_a_version_without_history(world: World) -> None:
    await edit(world, firmware_version="v5", last_seen=EPOCH + timedelta(microseconds=START))
    insert = (
        "insert into device_firmware_history (device_id, firmware_version, installed_at) values ($1, $2, $3)"
    )
    nine_days = EPOCH + timedelta(microseconds=START) - timedelta(days=9)
    await world.pool.execute(insert, DEVICE, "v4", nine_days)
    assert await column(world, "firmware_version") == "v5"
    await world.pool.execute(insert, DEVICE, "v6", nine_days + timedelta(days=10))
    assert await column(world, "firmware_version") == "v6"


async def test_telemetry_offline_telemetry_leaves_the_last_coming_in_the_timeline(world: World) -> None:
    await world.apply([said(0)])
    await world.apply([said(100, OFFLINE)])
    await world.apply([said(200)])
    await world.apply([said(50, OFFLINE)])
    assert [kind for _, kind, _, _ in await world.timeline()][-2:] == ["offline", "online"]


async def test_a_going_later_than_the_heads_coming_is_retracted(world: World) -> None:
    """AWS: the disconnect of a session that was taken over is told before the connect of the new one."""

    def told(number: int, presence: Presence, second: int) -> Observation:
        return said(second, presence, sequence=aws_sequence(number, presence))

    await world.apply([told(5, ONLINE, 0)])
    await world.apply([told(5, OFFLINE, 100)])
    await world.apply([told(6, ONLINE, 90)])
    timeline, rows = await world.timeline(), await world.rows()
    assert rows["status"] == "online"
    assert timeline[-1][1] == "online"
    goings = [last for _, kind, last, _ in timeline if kind == "offline"]
    assert goings[-1:] == [rows["last_seen_offline"]]
    assert timeline[-1][0] <= rows["last_seen_online"]


async def test_rows_of_one_batch_are_recorded_and_numbered_by_their_times(world: World) -> None:
    await world.apply([said(0), said(100, OFFLINE), said(50, firmware=(("main", "v1"),)), said(150)])
    unnumbered = "select count(*) from rollcall.device_events where position is null"
    assert await world.pool.fetchval(unnumbered) > 0
    await Positions(world.pool).number(chunk=2)
    assert await world.pool.fetchval(unnumbered) == 0
    rows = await world.pool.fetch("select at, recorded_at from rollcall.device_events order by position")
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert len({row["recorded_at"] for row in rows}) == 1


async def test_what_is_committed_later_is_numbered_later_also_where_it_began_earlier(world: World) -> None:
    await world.apply([said(0)])
    await Positions(world.pool).number()
    async with world.pool.acquire() as person:
        transaction = person.transaction()
        await transaction.start()
        await person.execute(
            "insert into rollcall.device_events (subject, kind, at, source) values ($1, 'created', now(), 'x')",
            DEVICE,
        )
        await world.apply([said(100, OFFLINE)])
        await Positions(world.pool).number()
        await transaction.commit()
    await Positions(world.pool).number()
    kinds = await world.pool.fetch("select kind from rollcall.device_events order by position")
    assert [row["kind"] for row in kinds] == ["online", "offline", "created"]


async def test_a_row_that_is_retracted_is_numbered_anew(world: World) -> None:
    await hear(world, 0, 3000)
    await world.apply([said(0)])
    await world.sweep()
    await Positions(world.pool).number()
    await world.apply([said(800)])
    await Positions(world.pool).number()
    last = "select kind, retracted_at is not null from rollcall.device_events order by position desc limit 1"
    assert tuple(await world.pool.fetchrow(last)) == ("offline", True)


async def test_a_status_set_by_hand_is_corrected_by_the_sweep_where_the_device_is_known_to_be_offline(
    world: World,
) -> None:
    await hear(world, 0, 4000)
    await world.apply([said(0), said(100, OFFLINE)])
    await edit(world, status="online")
    await world.sweep()
    rows = await world.rows()
    assert (rows["status"], rows["last_seen_offline"]) == ("offline", START + 100 * SECOND)


def test_a_value_that_the_client_cannot_send_is_bad_data_and_no_outage() -> None:
    error = translated(
        asyncpg.DataError("invalid input for query argument $1: 1e400 (value out of int64 range)")
    )
    assert isinstance(error, Refused)


async def test_a_number_too_large_for_its_column_is_bad_data_and_no_outage(world: World) -> None:
    progress = SessionProgress(2**70, 1, b"", None)
    with pytest.raises(Refused):
        await world.applier.commit(Batch(sessions=[progress]))
