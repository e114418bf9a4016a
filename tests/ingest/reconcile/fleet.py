"""A fleet at the fake Golioth, a database with its integration, and reconcilers on it."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from handlers.events import DeviceKey, Micros, Observation
from handlers.evidence import Evidence, coalesce
from ingest.clock import StrictClock
from ingest.crypto import Keyring
from ingest.reconcile.phases import Options, Outcome
from ingest.reconcile.reconciler import Reconciler
from ingest.settings import Settings, load_settings
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, Target
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from tests.providers.worlds import HASTY
from tests.servers.golioth import Golioth

API_KEY = "gk-s3cr3tKey0123456789"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROOMY = {"unknown_devices": {"policy": "create", "max_per_minute": 100_000, "max_total": 100_000}}


def micros(at: datetime) -> Micros:
    return (at - EPOCH) // timedelta(microseconds=1)


class Fleet:
    """The integration `g` of type golioth. `reconcile` runs in a process's stead, `holder` names it."""

    def __init__(self, database: str, pool: asyncpg.Pool, cloud: Golioth, integration: UUID) -> None:
        self.database = database
        self.pool = pool
        self.cloud = cloud
        self.integration = integration
        self.keyring = Keyring({})

    @classmethod
    async def make(
        cls, database: str, pool: asyncpg.Pool, cloud: Golioth, key: str = API_KEY, **settings: Any
    ) -> "Fleet":
        organization = await pool.fetchval(
            "insert into organizations (name, slug) values ('acme', 'acme') returning id"
        )
        integration = await pool.fetchval(
            "insert into device_integrations (organization_id, integration_type, name, project_id, base_url,"
            " api_key_encrypted, settings) values ($1, 'golioth', 'g', 'fleet', $2, $3, $4) returning id",
            organization,
            cloud.http.url,
            key,
            orjson.dumps({**ROOMY, **settings}).decode(),
        )
        return cls(database, pool, cloud, integration)

    def settings(self, **changes: Any) -> Settings:
        return load_settings(**{"database_url": self.database, "lease_ttl_s": 1, **changes})

    def reconciler(self, holder: str = "here", **changes: Any) -> Reconciler:
        return Reconciler(
            self.pool, self.settings(**changes), self.keyring, StrictClock(), holder, random.Random(1),
            limits=HASTY, look_every_s=0.05,
        )  # fmt: skip

    async def reconcile(self, **options: Any) -> Outcome:
        return await self.reconciler().reconcile(self.integration, Options(**options))

    async def tell(self, *observations: Observation, source: str = "webhook") -> None:
        """Apply events, as the pipeline does."""
        said: dict[DeviceKey, Evidence] = {}
        coalesce(observations, said)
        identities = Identities(self.pool)
        found = await identities.resolve(self.integration, list(said), UnknownPolicy())
        batch = Batch()
        for key, device_id in found.items():
            batch.add(device_id, Target(900 * 10**6, source), said[key])
        assert await Applier(self.pool).commit(batch) == []

    async def row(self, external_id: str) -> asyncpg.Record:
        return await self.pool.fetchrow(
            "select d.* from devices d join rollcall.device_identity i on i.device_id = d.id"
            " where i.external_device_id = $1",
            external_id,
        )

    async def everything(self) -> dict[str, list[Any]]:
        """All that a run may touch, but the runs."""
        tables = {
            "devices": "id", "rollcall.device_state": "device_id", "rollcall.device_facts": "device_id, field",
            "rollcall.device_identity": "device_id", "rollcall.device_firmware": "device_id, component",
            "device_firmware_history": "id", "sync_conflicts": "id", "rollcall.reconcile_staging": "id",
            "rollcall.parked_devices": "external_device_id", "rollcall.integration_counts": "integration_id",
            "rollcall.device_events": "subject, kind, component, at, source", "device_integrations": "id",
        }  # fmt: skip
        return {
            name: [
                tuple(row)
                for row in await self.pool.fetch(f"select t::text from {name} as t order by {order}")
            ]
            for name, order in tables.items()
        }

    async def last_run(self) -> asyncpg.Record:
        return await self.pool.fetchrow(
            "select * from rollcall.reconcile_runs order by started_at desc limit 1"
        )
