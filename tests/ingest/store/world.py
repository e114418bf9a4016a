"""A database with one integration and one device, what is applied to it, and what its rows say."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from handlers.events import MAIN, Micros, Observation
from handlers.evidence import Evidence
from handlers.firmware import history
from handlers.presence import presence
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, Target
from ingest.store.commit.silences import Silences
from tests.strategies import OFFLINE_AFTER
from tests.waiting import WAITING

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEVICE = UUID(int=7)
Transition = tuple[Micros, str, Micros, bool]
"""When, online or offline, until when that was repeated, whether it is a retained word."""


class World:
    """The database side of a property: reset, apply, sweep, read."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.applier = Applier(pool)
        self.integration = UUID(int=1)

    async def reset(self, heard_until: Micros | None = None, heard_since: Micros | None = None) -> None:
        await self.pool.execute("delete from organizations")
        await self.pool.execute("delete from rollcall.device_events")
        organization = await self.pool.fetchval(
            "insert into organizations (name, slug) values ('o', 'o') returning id"
        )
        await self.pool.execute(
            "insert into device_integrations (id, organization_id, integration_type, name)"
            " values ($1, $2, 'mqtt', 'm')",
            self.integration,
            organization,
        )
        await self.pool.execute(
            "insert into devices (id, organization_id, integration_id, external_device_id, name, device_type)"
            " values ($1, $2, $3, 'd', 'd', 'sensor')",
            DEVICE,
            organization,
            self.integration,
        )
        if heard_until is not None:
            await self.pool.execute(
                "insert into rollcall.mqtt_sessions (integration_id, client_id, heard_until, heard_since)"
                " values ($1, 'c', $2, $3)",
                self.integration,
                heard_until,
                heard_since,
            )

    async def apply(self, observations: list[Observation]) -> None:
        evidence = Evidence()
        for observation in observations:
            evidence.add(observation)
        batch = Batch()
        batch.add(DEVICE, Target(OFFLINE_AFTER), evidence)
        assert await self.applier.commit(batch) == []

    async def sweep(self) -> None:
        await Silences(self.pool).sweep(OFFLINE_AFTER, 0)

    async def timeline(self) -> list[Transition]:
        """The comings and goings that are not retracted, in the order of their times."""
        rows = await self.pool.fetch(
            "select at, kind, coalesce((detail ->> 'last_at')::timestamptz, at), detail ? 'snapshot'"
            " from rollcall.device_events where subject = $1 and kind in ('online', 'offline')"
            " and retracted_at is null order by at, kind desc",
            DEVICE,
        )
        return [(_plain(at), kind, _plain(last), snapshot) for at, kind, last, snapshot in rows]

    async def rows(self) -> dict[str, Any]:
        """What a user can see, with times as microseconds."""
        device = await self.pool.fetchrow(
            "select status, last_seen_online, last_seen_offline, battery_level, signal_strength, firmware_version"
            " from devices where id = $1",
            DEVICE,
        )
        installs = await self.pool.fetch(
            "select component_type, installed_at, firmware_version, source from device_firmware_history"
            ' order by component_type, installed_at, firmware_version collate "C"'
        )
        readings = await self.pool.fetch(
            "select name, value, unit, at from rollcall.device_readings order by name"
        )
        return {
            **{name: _plain(value) for name, value in dict(device).items()},
            "installs": [tuple(_plain(value) for value in row) for row in installs],
            "readings": [tuple(row) for row in readings],
        }


def model(
    observations: list[Observation], heard_until: Micros | None = None, heard_since: Micros | None = None
) -> dict[str, Any]:
    """What the pure rules say that `World.rows` must be."""
    evidence = Evidence()
    for observation in observations:
        evidence.add(observation)
    seen = presence(evidence, OFFLINE_AFTER, heard_until, heard_since)
    installs = []
    for component, firmware in sorted(evidence.firmware.items()):
        for index, install in enumerate(history(firmware)):
            source = "unknown" if index else "factory_default"
            installs.append((component, install.at, install.version, source))
    main = evidence.firmware.get(MAIN)
    return {
        "status": str(seen.status or "offline"),
        "last_seen_online": seen.last_seen_online,
        "last_seen_offline": seen.last_seen_offline,
        "battery_level": evidence.battery[1] if evidence.battery else None,
        "signal_strength": evidence.signal[1] if evidence.signal else None,
        "firmware_version": main.version if main else None,
        "installs": installs,
        "readings": [
            (name, value, unit, at) for name, (at, value, unit) in sorted(evidence.readings.items())
        ],
    }


async def waits(connection: asyncpg.Connection | asyncpg.Pool) -> bool:
    """Return whether somebody in this database waits for a lock."""
    return bool(await connection.fetchval(WAITING, ""))


def _plain(value: Any) -> Any:
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value
