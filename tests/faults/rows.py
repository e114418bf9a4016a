"""A device as its rows show it, read from the tables and made by the pure rules."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from handlers.evidence import Evidence
from handlers.firmware import history
from handlers.presence import presence

OFFLINE_AFTER_S = 86_400
"""No device is silent for so long, whatever its clock says: silences have tests of their own."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTALLS = """
select device_id, component_type, installed_at, firmware_version, source from device_firmware_history
order by component_type, installed_at, firmware_version collate "C" """
READINGS = 'select device_id, name, value, at from rollcall.device_readings order by name collate "C"'


class Row(NamedTuple):
    """All that is a function of what a device said. Times in microseconds since 1970; readings: (name, value, at)."""

    status: str
    last_seen_online: int | None
    last_seen_offline: int | None
    battery_level: int | None
    signal_strength: int | None
    firmware_version: str | None
    installs: tuple[tuple[str, int, str, str], ...]
    """(component, at, version, source)."""
    readings: tuple[tuple[str, float, int], ...]


def row_of(evidence: Evidence) -> Row:
    """Return what the pure rules make of it."""
    seen = presence(evidence, OFFLINE_AFTER_S * 10**6, None)
    main = evidence.firmware.get("main")
    installs = [
        (component, install.at, install.version, "unknown" if index else "factory_default")
        for component, firmware in sorted(evidence.firmware.items())
        for index, install in enumerate(history(firmware))
    ]
    return Row(
        str(seen.status or "offline"),
        seen.last_seen_online,
        seen.last_seen_offline,
        evidence.battery[1] if evidence.battery else None,
        evidence.signal[1] if evidence.signal else None,
        main.version if main else None,
        tuple(installs),
        tuple((name, value, at) for name, (at, value, _) in sorted(evidence.readings.items())),
    )


async def rows_in(database: asyncpg.Connection, devices: Sequence[asyncpg.Record]) -> dict[str, Row]:
    """Return what the tables say of these: id, name, then the columns of `Row` that are columns of devices."""
    installs = _by_device(await database.fetch(INSTALLS))
    readings = _by_device(await database.fetch(READINGS))
    return {
        name: Row._make([*map(micros, columns), installs[device], readings[device]])
        for device, name, *columns in devices
    }


def micros(value: Any) -> Any:
    """Return a time as microseconds since 1970, and anything else as it is."""
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


def _by_device(rows: Sequence[asyncpg.Record]) -> dict[UUID, tuple[Any, ...]]:
    found: dict[UUID, tuple[Any, ...]] = defaultdict(tuple)
    for device, *values in rows:
        found[device] += (tuple(map(micros, values)),)
    return found
