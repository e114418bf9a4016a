"""The devices of an integration as the table has them: what a plain broker's provider lists."""

from typing import Any
from uuid import UUID

import asyncpg

from handlers.events import MAIN
from ingest.providers.port import Installed, ListedDevice
from ingest.store.errors import acquired

_PAGE = """
select i.external_device_id, d.name, d.serial_number, d.hardware_ids, d.cohort_id, d.battery_level, d.signal_strength,
    d.firmware_version, s.online_at, greatest(s.offline_at, s.stream_offline_at) as offline_at, s.battery_at,
    s.signal_at
from rollcall.device_identity i join public.devices d on d.id = i.device_id
left join rollcall.device_state s on s.device_id = d.id
where i.integration_id = $1 and i.external_device_id collate "C" > $2
order by i.external_device_id collate "C" limit $3"""
_ONE = _PAGE.replace('> $2\norder by i.external_device_id collate "C" limit $3', "= $2")


class OwnDevices:
    """Reads them. Raises DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 10.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def page(self, integration_id: UUID, after: str | None, limit: int) -> list[ListedDevice]:
        """Return at most `limit` devices with an external id above `after`, in code point order."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(_PAGE, integration_id, after or "", limit, timeout=self._timeout_s)
        return [_device(row) for row in rows]

    async def one(self, integration_id: UUID, external_id: str) -> ListedDevice | None:
        """Return one, or None."""
        async with acquired(self._pool, self._timeout_s) as connection:
            row = await connection.fetchrow(_ONE, integration_id, external_id, timeout=self._timeout_s)
        return None if row is None else _device(row)


def _device(row: Any) -> ListedDevice:
    version = row["firmware_version"]
    return ListedDevice(
        row["external_device_id"],
        name=row["name"],
        serial_number=row["serial_number"],
        hardware_ids=tuple(row["hardware_ids"] or ()),
        cohort_id=row["cohort_id"],
        online_at=row["online_at"],
        offline_at=row["offline_at"],
        battery_level=row["battery_level"],
        battery_at=row["battery_at"],
        signal_strength=row["signal_strength"],
        signal_at=row["signal_at"],
        firmware=(Installed(MAIN, version, None),) if version else (),
    )
