"""The API on a real port, with a real Postgres and a Golioth that its contract checks, and two organizations."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import orjson
import uvicorn
from pydantic import SecretStr

from handlers.events import SECOND, DeviceKey, Facts, Observation
from handlers.evidence import Evidence, coalesce
from handlers.parked import to_parked
from ingest.api.application import close_api, create_api
from ingest.api.dependencies import Dependencies, Synced
from ingest.api.settings import ApiSettings
from ingest.clock import StrictClock
from ingest.crypto import Keyring
from ingest.integrations.planner import Planner
from ingest.pipeline.replay import Replay
from ingest.providers.factory import create_provider
from ingest.providers.port import Provider
from ingest.providers.settings import ProviderSettings
from ingest.settings import load_settings
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, Target
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.commit.parking import Parking
from ingest.store.commit.sessions import Sessions
from ingest.store.people import tokens
from ingest.store.tenants import Tenants
from ingest.webhooks.hooks import parse_webhook_settings
from tests.http_client import http_client
from tests.providers.worlds import HASTY
from tests.servers.golioth import Golioth

PATIENT = replace(HASTY, read_s=3.0, request_s=6.0)
"""So that no request is made twice because the machine is busy."""
API_KEY = "golioth-s3cr3t-key-0123456789"
KEYS = "k1:" + base64.b64encode(b"1" * 32).decode()
OFFLINE_AFTER = 900 * SECOND


@dataclass
class Organization:
    """One tenant: an integration, a device with something of everything, and tokens by scope."""

    id: UUID
    integration: UUID = field(default_factory=uuid4)
    device: UUID = field(default_factory=uuid4)
    credential: UUID = field(default_factory=uuid4)
    conflict: UUID = field(default_factory=uuid4)
    artifact: UUID = field(default_factory=uuid4)
    letter: UUID = field(default_factory=uuid4)
    tokens: dict[str, str] = field(default_factory=dict)


class World:
    """What a test may ask of a running API."""

    def __init__(self, pool: asyncpg.Pool, cloud: Golioth, keyring: Keyring) -> None:
        self.pool = pool
        self.cloud = cloud
        self.keyring = keyring
        self.applier = Applier(pool)
        self.identities = Identities(pool)
        self.clock = StrictClock()
        self.url = ""
        self.client = http_client()
        self.observed: list[Observation] = []
        self.syncs: list[tuple[UUID, bool, bool]] = []
        self.provider: Provider = create_provider(
            ProviderSettings("golioth", "fleet", cloud.http.url, API_KEY), limits=PATIENT
        )

    async def providers(self, integration_id: UUID) -> Provider:
        return self.provider

    async def observe(self, observations: Sequence[Observation]) -> None:
        self.observed += observations
        await self.apply(observations, "api")

    async def apply(self, observations: Sequence[Observation], source: str) -> None:
        evidence: dict[DeviceKey, Evidence] = {}
        coalesce(observations, evidence)
        if not evidence:
            return
        found = await self.identities.resolve(
            observations[0].integration_id, list(evidence), UnknownPolicy("ignore")
        )
        batch = Batch()
        for key, device_id in found.items():
            batch.add(device_id, Target(OFFLINE_AFTER, source), evidence[key])
        assert await self.applier.commit(batch) == []

    async def sync(self, integration_id: UUID, full: bool, dry_run: bool) -> Synced:
        """List the provider's devices and apply what they say, as far as these tests look at it."""
        self.syncs.append((integration_id, full, dry_run))
        found: list[Observation] = []
        now = self.clock()
        async for page in self.provider.list_devices():
            for one in page.devices:
                at = one.updated_at or now
                facts = Facts(hardware_ids=one.hardware_ids, cohort_id=one.cohort_id, tags=one.tags)
                said = Observation(
                    integration_id, DeviceKey(one.external_id), at, at, now, "reconcile", facts=facts,
                    firmware=tuple((installed.component, installed.version) for installed in one.firmware),
                )  # fmt: skip
                found.append(said)
        if not dry_run:
            await self.apply(found, "reconcile")
        return Synced(len(found), 0, len(found), 0, (), 0.1)

    async def adopt(self, integration_id: UUID) -> int:
        parking = Parking(self.pool, self.identities, self.applier)
        return await parking.adopt(integration_id, OFFLINE_AFTER)

    async def get(self, path: str, token: str | None, **options: Any) -> httpx.Response:
        return await self.ask("GET", path, token, **options)

    async def post(self, path: str, token: str | None, body: Any = None, **options: Any) -> httpx.Response:
        return await self.ask("POST", path, token, json=body, **options)

    async def ask(self, method: str, path: str, token: str | None, **options: Any) -> httpx.Response:
        headers = {**options.pop("headers", {})}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return await self.client.request(method, self.url + path, headers=headers, timeout=20, **options)

    async def organization(self, slug: str) -> Organization:
        """Make a tenant with something of everything."""
        made = Organization(
            await self.pool.fetchval(
                "insert into organizations (name, slug) values ($1, $1) returning id", slug
            )
        )
        await self.pool.execute(
            """insert into device_integrations (id, organization_id, integration_type, name, project_id)
            values ($1, $2, 'golioth', 'field', 'fleet')""",
            made.integration,
            made.id,
        )
        await self._fill(made, slug)
        for scope in tokens.SCOPES:
            made.tokens[scope] = await self.token(made.id, [scope])
        made.tokens["all"] = await self.token(made.id, tokens.SCOPES)
        return made

    async def token(self, organization_id: UUID, scopes: Sequence[str]) -> str:
        async with self.pool.acquire() as connection:
            return (await tokens.create(connection, organization_id, "test", scopes, None))[1]

    async def _fill(self, made: Organization, slug: str) -> None:
        await self.pool.execute(
            """insert into devices (id, organization_id, integration_id, external_device_id, name, device_type,
                serial_number, status, cohort_id)
            values ($1, $2, $3, $4, 'Temperature Sensor 1', 'sensor', $5, 'offline', 'cohort1')""",
            made.device,
            made.id,
            made.integration,
            f"{slug}-1",
            f"SN-{slug}-1",
        )
        secret = self.keyring.encrypt(f"psk-of-{slug}", f"device_credentials/{made.device}/PRE_SHARED_KEY")
        await self.pool.execute(
            """insert into device_credentials (id, device_id, credential_type, identity, encrypted_secret)
            values ($1, $2, 'PRE_SHARED_KEY', 'identity', $3)""",
            made.credential,
            made.device,
            secret,
        )
        await self.conflict(made, made.conflict, "name", "Temperature Sensor 1", "Thermo")
        await self.pool.execute(
            """insert into firmware_artifacts (id, organization_id, integration_id, external_artifact_id, package_name,
                version, component_type) values ($1, $2, $3, 'a2', 'main', '1.3.0', 'main')""",
            made.artifact,
            made.id,
            made.integration,
        )
        await self.pool.execute(
            r"""insert into rollcall.dead_letters (id, integration_id, session, topic, qos, retain, received_at, kind,
                error, payload)
            values ($1, $2, 's', 't', 1, false, 1767225600000000, 'not_json', 'no JSON', '\x7b')""",
            made.letter,
            made.integration,
        )
        key = orjson.dumps({"external_id": f"{slug}-new", "serial_number": None, "hardware_ids": []}).decode()
        await self.pool.execute(
            """insert into rollcall.parked_devices (integration_id, external_device_id, key, evidence)
            values ($1, $2, $3, $4)""",
            made.integration,
            f"{slug}-new",
            key,
            orjson.dumps(to_parked(Evidence())).decode(),
        )

    async def conflict(
        self, made: Organization, conflict_id: UUID, field_name: str, local: Any, remote: Any
    ) -> UUID:
        """Open a conflict on the organization's device."""
        await self.pool.execute(
            """insert into sync_conflicts (id, device_id, field_name, local_value, remote_value, resolution_strategy)
            values ($1, $2, $3, $4, $5, 'manual')""",
            conflict_id,
            made.device,
            field_name,
            orjson.dumps(local).decode(),
            orjson.dumps(remote).decode(),
        )
        return conflict_id


@contextlib.asynccontextmanager
async def running(database: str, *, role: bool = True, **settings: Any) -> AsyncIterator[World]:
    """Serve the API on a free port until the block ends."""
    keyring = Keyring.from_setting(SecretStr(KEYS))
    cloud = Golioth(API_KEY)
    async with (
        cloud.http,
        asyncpg.create_pool(database, min_size=1, max_size=8, statement_cache_size=0) as pool,
    ):
        world = World(pool, cloud, keyring)
        planning = load_settings(database_url=database)
        planner = Planner(planning, keyring)
        dependencies = Dependencies(
            tenants=await Tenants.probed(pool) if role else Tenants(pool, None),
            sessions=Sessions(pool),
            keyring=keyring,
            clock=world.clock,
            providers=world.providers,
            sync=world.sync,
            observe=world.observe,
            replay=Replay(
                pool,
                planner,
                lambda row: parse_webhook_settings(planning, row.id, row.name, row.settings),
                world.applier,
                world.identities,
            ).replay,
            adopt=world.adopt,
            settings=ApiSettings(**{"api_rate_per_s": 10_000, "api_burst": 10_000, **settings}),
        )
        app = create_api(dependencies)
        async with _served(app) as world.url, world.client:
            try:
                yield world
            finally:
                await close_api(app)
                await world.provider.aclose()


@contextlib.asynccontextmanager
async def _served(app: Any) -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=True, ws="none")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(10):
                while not server.started:
                    await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, 10)
