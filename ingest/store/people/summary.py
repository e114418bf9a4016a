"""A summary for a person at a glance: counts over all devices, and the newest entries of the timeline."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import orjson


class Event(NamedTuple):
    """An entry of the timeline; `name` is that of its device or integration."""

    at: datetime
    recorded_at: datetime
    name: str
    kind: str
    component: str
    source: str
    detail: Any


@dataclass(frozen=True, slots=True)
class Summary:
    """A glance at the database. `committed` counts publishes at QoS 1 and 2 over all sessions."""

    online: int = 0
    offline: int = 0
    committed: int = 0
    dead_letters: int = 0
    firmware: list[tuple[str, int]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


async def summary(connection: asyncpg.Connection, events: int = 8) -> Summary:
    """Read a summary with the newest `events` of the timeline."""
    counts = await connection.fetchrow(
        """select pg_catalog.count(*) filter (where status <> 'offline') as online,
            pg_catalog.count(*) filter (where status = 'offline') as offline,
            (select coalesce(pg_catalog.sum(m), 0)::bigint
                from (select pg_catalog.max(seq) as m
                    from rollcall.mqtt_digests group by session_id) as s) as committed,
            (select pg_catalog.count(*) from rollcall.dead_letters) as dead_letters
        from public.devices"""
    )
    firmware = await connection.fetch(
        """select coalesce(firmware_version, 'unknown') as version, pg_catalog.count(*) as devices
        from public.devices group by 1 order by 2 desc, 1 limit 6"""
    )
    newest = await connection.fetch(
        """select e.at, e.recorded_at, coalesce(d.name, n.name, e.subject::text) as name, e.kind, e.component,
            e.source, e.detail::text as detail
        from (select * from rollcall.device_events order by recorded_at desc limit $1) as e
        left join public.devices d on d.id = e.subject left join public.device_integrations n on n.id = e.subject
        order by e.recorded_at desc""",
        events,
    )
    return Summary(
        **dict(counts),
        firmware=[(row["version"], row["devices"]) for row in firmware],
        events=[Event(**{**row, "detail": orjson.loads(row["detail"])}) for row in newest],
    )


async def connected_since(connection: asyncpg.Connection, since: datetime) -> bool:
    """Return whether a session has connected to its broker and subscribed after `since`."""
    found: bool = await connection.fetchval(
        "select exists (select from rollcall.mqtt_sessions where connected_at >= $1 and state = 'connected')",
        since,
    )
    return found
