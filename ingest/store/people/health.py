"""Health of the database and of the MQTT sessions, for /readyz and /metrics."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from handlers.events import Micros
from ingest.store.errors import acquired

_SESSIONS = """
select s.integration_id, n.name, coalesce(pg_catalog.replace(s.client_id, '-' || k.secret, ''),
    s.client_id) as client_id,
    case when s.state = 'connected' and not case
    when s.client_id like '%-jetstream' then s.integration_id = any ($3)
        or s.heard_until > (extract(epoch from pg_catalog.now()) - 60) * 1000000
    else exists (select from rollcall.leases l where l.name = 'mqtt/' || s.client_id
        and l.expires_at >= pg_catalog.now()) end
    then 'unheld' else s.state end as state, s.detail, s.heard_until
from rollcall.mqtt_sessions s join public.device_integrations n on n.id = s.integration_id
join rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[])) as t (i, c)
    on t.i = s.integration_id and t.c = s.client_id
left join rollcall.mqtt_names k on k.integration_id = s.integration_id
order by n.name, s.client_id"""


class SessionHealth(NamedTuple):
    """One MQTT session as its row says it is; over all replicas."""

    integration_id: UUID
    name: str
    client_id: str | None
    """As people may read it, without its unguessable part; None where there can be no session."""
    state: str
    """As its row says; `unheld` where it was connected and no replica holds its lease.

    A JetStream has no lease: it is `unheld` where this process does not read it and nobody has heard all for a minute.
    """
    detail: str
    heard_until: Micros | None


class Health(NamedTuple):
    """The health of the database, which may be read-only, and of the sessions."""

    read_only: bool
    sessions: list[SessionHealth]


class HealthRows:
    """Asks the database, within a bound. Raises DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 1.5) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def read(self, sessions: Sequence[tuple[UUID, str]], here: Sequence[UUID] = ()) -> Health:
        """Return how these (integration id, client id) are; in a read-only database nothing can be written.

        `here`: the integrations that this process reads.
        """
        async with acquired(self._pool, self._timeout_s) as connection:
            read_only = await connection.fetchval(
                "select pg_catalog.current_setting('transaction_read_only')::bool", timeout=self._timeout_s
            )
            ids, clients = (
                [integration_id for integration_id, _ in sessions],
                [client for _, client in sessions],
            )
            arguments = ids, clients, here
            rows = await connection.fetch(_SESSIONS, *arguments, timeout=self._timeout_s) if ids else []
        return Health(read_only, [SessionHealth(*row) for row in rows])
