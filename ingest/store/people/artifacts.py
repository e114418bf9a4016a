"""Firmware images of providers as rows of public.firmware_artifacts: kept up to date, and listed."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from handlers.events import SECOND
from handlers.versions import later
from ingest.providers.port import Artifact, Provider
from ingest.store.errors import acquired

Connection = Any
AT_ONCE = 500
MAX_ARTIFACTS = 20_000
_COLUMNS = """a.id, a.integration_id, a.external_artifact_id, a.package_name, a.version, a.component_type, a.size_bytes,
    a.checksum_sha256, a.release_date, coalesce(a.metadata, '{}')::text as metadata"""


class StoredArtifact(NamedTuple):
    """A row of public.firmware_artifacts."""

    id: UUID
    integration_id: UUID | None
    external_artifact_id: str | None
    package_name: str | None
    version: str | None
    component_type: str | None
    size_bytes: int | None
    checksum_sha256: str | None
    release_date: datetime | None
    metadata: Any

    @property
    def cursor(self) -> tuple[UUID]:
        """Where a page that ends here goes on."""
        return (self.id,)


async def sync_artifacts(pool: asyncpg.Pool, integration_id: UUID, provider: Provider) -> int:
    """Bring the rows of an integration up to date with its provider; returns how many images there are.

    Rows are never deleted: a deployment may name them. Nothing happens where the provider lists no images.
    Raises: ProviderAway, ProviderRefused, Declined, DatabaseAway, Refused.
    """
    if not provider.capabilities.supports_artifacts:
        return 0
    count = 0
    async for portion in _portions(provider.list_artifacts()):
        async with acquired(pool, 30.0) as connection:
            await connection.execute(_WRITE, integration_id, *zip(*map(_columns, portion), strict=True))
        count += len(portion)
        if count >= MAX_ARTIFACTS:
            break
    return count


_WRITE = """
insert into public.firmware_artifacts as a (organization_id, integration_id, external_artifact_id, package_name,
    version, component_type, size_bytes, checksum_sha256, release_date, metadata)
select i.organization_id, i.id, t.e, t.p, t.v, t.p, t.s, t.c, t.r, t.m
from public.device_integrations i, rows from (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]),
    pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::bigint[]), pg_catalog.unnest($6::text[]),
        pg_catalog.unnest($7::timestamptz[]), pg_catalog.unnest($8::jsonb[])) as t (e, p, v, s, c, r, m)
where i.id = $1 order by t.e
on conflict (integration_id, external_artifact_id) do update set package_name = excluded.package_name,
    version = excluded.version, size_bytes = excluded.size_bytes, checksum_sha256 = excluded.checksum_sha256,
    release_date = excluded.release_date, metadata = coalesce(a.metadata, '{}') || excluded.metadata,
        updated_at = pg_catalog.now()
where (a.package_name, a.version, a.size_bytes, a.checksum_sha256, a.release_date) is distinct from
    (excluded.package_name, excluded.version, excluded.size_bytes, excluded.checksum_sha256, excluded.release_date)
    or not coalesce(a.metadata, '{}') @> excluded.metadata"""


async def _portions(found: AsyncIterator[Artifact]) -> AsyncIterator[list[Artifact]]:
    """Gather images, each id once in a portion."""
    portion: dict[str, Artifact] = {}
    async for artifact in found:
        portion[artifact.external_id] = artifact
        if len(portion) == AT_ONCE:
            yield list(portion.values())
            portion = {}
    if portion:
        yield list(portion.values())


def _columns(artifact: Artifact) -> tuple[Any, ...]:
    released = (
        None if artifact.released_at is None else datetime.fromtimestamp(artifact.released_at / SECOND, UTC)
    )
    metadata = orjson.dumps(dict(artifact.metadata)).decode()
    return (
        artifact.external_id, artifact.package, artifact.version, artifact.size_bytes,
        artifact.checksum_sha256, released, metadata,
    )  # fmt: skip


async def artifacts(
    connection: Connection,
    organization: UUID | None,
    *,
    integration_id: UUID | None,
    component: str | None,
    after: tuple[UUID] | None = None,
    limit: int,
) -> list[StoredArtifact]:
    """Return images in order of their ids; of all organizations where `organization` is None."""
    found = await connection.fetch(
        f"""select {_COLUMNS} from public.firmware_artifacts a
        where ($1::uuid is null or a.organization_id = $1)
            and ($2::uuid is null or a.integration_id = $2)
            and ($3::text is null or coalesce(a.component_type, a.package_name, 'main') = $3)
            and ($4::uuid is null or a.id > $4)
        order by a.id limit $5""",  # noqa: S608
        organization,
        integration_id,
        component,
        *(after or (None,)),
        limit,
    )
    return [_artifact(row) for row in found]


async def artifact(
    connection: Connection, organization: UUID | None, artifact_id: UUID
) -> StoredArtifact | None:
    """Return one image."""
    row = await connection.fetchrow(
        f"""select {_COLUMNS} from public.firmware_artifacts a
        where ($1::uuid is null or a.organization_id = $1) and a.id = $2""",  # noqa: S608
        organization,
        artifact_id,
    )
    return _artifact(row) if row else None


async def update_available(
    connection: Connection, organization_id: UUID, integration_id: UUID, installed: Mapping[str, str]
) -> bool:
    """Return whether an image of the integration is later than what is installed: component -> version.

    By semantic version, else by release date.
    """
    found = await connection.fetch(
        """select coalesce(component_type, package_name, 'main') as component, version, release_date
        from public.firmware_artifacts
        where organization_id = $1 and integration_id = $2 and version is not null
            and coalesce(component_type, package_name, 'main') = any ($3::text[])
        order by release_date desc nulls last, id limit 1000""",
        organization_id,
        integration_id,
        list(installed),
    )
    released = {(row["component"], row["version"]): row["release_date"] for row in found}
    return any(_is_later(row, installed[row["component"]], released) for row in found)


def _artifact(row: Any) -> StoredArtifact:
    return StoredArtifact(**{**row, "metadata": orjson.loads(row["metadata"])})


def _is_later(row: Any, current: str, released: Mapping[tuple[str, str], datetime | None]) -> bool:
    by_version = later(row["version"], current)
    if by_version is not None:
        return by_version
    ours, theirs = released.get((row["component"], current)), row["release_date"]
    return bool(ours and theirs and theirs > ours)
