"""Deployments of firmware: rows of rollcall.deployments, from `queued` until they succeeded or failed."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ingest.store.errors import acquired
from ingest.store.people.devices import PROVIDER_KEY

Connection = Any
NEVER_GIVEN_S = 300
"""A deployment that its provider was not given by then was cut short by a crash."""


class Wanted(NamedTuple):
    """A deployment that somebody asked for."""

    id: UUID
    device_id: UUID
    integration_id: UUID
    artifact_id: UUID
    component: str
    version: str
    from_version: str | None
    cohort_id: str | None
    requested_by: str


class Deployment(NamedTuple):
    """A deployment and how far it is."""

    deployment_id: UUID
    status: str
    artifact_id: UUID
    component: str
    version: str
    queued_at: datetime
    deadline_at: datetime
    finished_at: datetime | None
    detail: str
    cohort_id: str | None
    cohort_size: int | None
    requested_by: str


_DEPLOYMENT = """p.id as deployment_id, p.status, p.artifact_id, p.component, p.version, p.queued_at, p.deadline_at,
    p.finished_at, p.detail, p.cohort_id, p.cohort_size, p.requested_by"""


async def queue(connection: Connection, organization_id: UUID, wanted: Wanted, deadline_s: int) -> Deployment:
    """Record a deployment as queued, with a row of the timeline.

    Raises: asyncpg.UniqueViolationError where one is under way on the device or its cohort.
    """
    row = await connection.fetchrow(
        f"""insert into rollcall.deployments as p (organization_id, id, device_id, integration_id, artifact_id,
            component, version, from_version, cohort_id, requested_by, deadline_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
            pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $11))
        returning {_DEPLOYMENT}""",  # noqa: S608
        organization_id,
        *wanted,
        deadline_s,
    )
    await connection.execute(
        """insert into rollcall.device_events (subject, kind, component, at, source, detail)
        values ($1, 'deployment', $2, pg_catalog.clock_timestamp(), 'api',
            pg_catalog.jsonb_build_object('status', 'queued', 'version', $3::text, 'deployment', $4::text,
                'by', $5::text))""",
        wanted.device_id,
        wanted.component,
        wanted.version,
        str(wanted.id),
        wanted.requested_by,
    )
    return Deployment(**row)


async def record_provider(
    connection: Connection,
    organization_id: UUID,
    deployment_id: UUID,
    *,
    provider_id: str,
    cohort_id: str | None,
    cohort_size: int | None,
) -> None:
    """Record that the provider has it; without its cohort where that has another deployment under way."""
    statement = """update rollcall.deployments set provider_id = $3, cohort_size = $5,
        cohort_id = case when $6 then coalesce($4, cohort_id) end
        where organization_id = $1 and id = $2"""
    values = organization_id, deployment_id, provider_id, cohort_id, cohort_size
    try:
        async with connection.transaction():
            await connection.execute(statement, *values, True)
    except asyncpg.UniqueViolationError:
        await connection.execute(statement, *values, False)


async def end(
    connection: Connection, organization_id: UUID, deployment_id: UUID, status: str, detail: str
) -> None:
    """Record how it ended."""
    await connection.execute(
        """update rollcall.deployments set status = $3, detail = $4, finished_at = pg_catalog.clock_timestamp()
        where organization_id = $1 and id = $2 and status in ('queued', 'in_progress')""",
        organization_id,
        deployment_id,
        status,
        detail,
    )


async def of_device(
    connection: Connection, organization: UUID | None, device_id: UUID, limit: int
) -> list[Deployment]:
    """Return a device's deployments, newest first."""
    found = await connection.fetch(
        f"""select {_DEPLOYMENT} from rollcall.deployments p
        where ($1::uuid is null or p.organization_id = $1) and p.device_id = $2
        order by p.queued_at desc, p.id limit $3""",  # noqa: S608
        organization,
        device_id,
        limit,
    )
    return [Deployment(**row) for row in found]


async def in_progress(connection: Connection, organization_id: UUID, device_id: UUID) -> bool:
    """Return whether firmware is on its way to the device, or to its cohort."""
    return bool(
        await connection.fetchval(
            """select exists (select from rollcall.deployments p
            where p.organization_id = $1 and p.status in ('queued', 'in_progress') and (p.device_id = $2
                or p.cohort_id is not null and exists (select from public.devices d
                    where d.organization_id = $1 and d.id = $2 and d.cohort_id = p.cohort_id
                        and d.integration_id = p.integration_id)))""",
            organization_id,
            device_id,
        )
    )


class Pending(NamedTuple):
    """A deployment that its provider can be asked about."""

    id: UUID
    organization_id: UUID
    integration_id: UUID
    external_id: str
    provider_id: str


class Progress:
    """Moves deployments on by observations, deadlines and providers' answers. Methods raise DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def end_finished(self) -> int:
        """End those whose version was seen, that are late, or that no provider was given; returns how many."""
        async with acquired(self._pool, self._timeout_s) as connection:
            return int(await connection.fetchval(_END_FINISHED, NEVER_GIVEN_S))

    async def pending(self, limit: int) -> list[Pending]:
        """Return those that were not asked about for longest, and record that they are being asked about."""
        async with acquired(self._pool, self._timeout_s) as connection:
            found = await connection.fetch(_PENDING, limit)
        return [Pending(*row) for row in found]

    async def record(self, deployment: Pending, status: str, detail: str) -> None:
        """Record the state that the provider reports."""
        async with acquired(self._pool, self._timeout_s) as connection:
            if status in ("failed", "cancelled", "succeeded"):
                await end(connection, deployment.organization_id, deployment.id, status, detail)
                return
            await connection.execute(
                """update rollcall.deployments set status = 'in_progress', detail = $2
                where id = $1 and status = 'queued'""",
                deployment.id,
                detail,
            )


_END_FINISHED = """
with seen as (
    select p.id, case
        when f.version = p.version and (f.at >= rollcall.micros_of(p.queued_at)
                or p.from_version is distinct from p.version)
            or exists (select from rollcall.firmware_points q where q.device_id = p.device_id
                and q.component = p.component and q.version = p.version and q.at >= rollcall.micros_of(p.queued_at))
            then 'succeeded'
        when p.deadline_at <= pg_catalog.clock_timestamp() then 'failed'
        when p.provider_id is null
            and p.queued_at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1) then 'failed'
        end as status
    from rollcall.deployments p
    left join rollcall.device_firmware f on f.device_id = p.device_id and f.component = p.component
    where p.status in ('queued', 'in_progress')
),
done as (
    update rollcall.deployments p set status = s.status, finished_at = pg_catalog.clock_timestamp(), detail = case
        when s.status = 'succeeded' then 'the device runs it'
        when p.provider_id is null then 'the provider was not given it'
        else 'the device did not run it by the deadline' end
    from seen s where p.id = s.id and s.status is not null and p.status in ('queued', 'in_progress')
    returning p.id, p.device_id, p.component, p.version, p.status
),
told as (
    insert into rollcall.device_events (subject, kind, component, at, source, detail)
    select device_id, 'deployment', component, pg_catalog.clock_timestamp(), 'deployments',
        pg_catalog.jsonb_build_object('status', status, 'version', version, 'deployment', id)
    from done on conflict do nothing
)
select pg_catalog.count(*) from done"""

_PENDING = f"""
with asked as (
    select p.id, k.provider_key from rollcall.deployments p join public.devices d on d.id = p.device_id
    cross join lateral (select {PROVIDER_KEY} as provider_key) as k
    where p.status in ('queued', 'in_progress') and p.provider_id is not null and k.provider_key is not null
    order by p.asked_at nulls first, p.id limit $1
)
update rollcall.deployments p set asked_at = pg_catalog.clock_timestamp() from asked a where p.id = a.id
returning p.id, p.organization_id, p.integration_id, a.provider_key, p.provider_id"""  # noqa: S608
