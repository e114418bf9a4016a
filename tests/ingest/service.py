"""A whole service inside the test's own event loop: real Postgres, real broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiomqtt
import asyncpg
import httpx
import orjson

from ingest.app import serve
from ingest.settings import load_settings
from ingest.store.people import tokens
from tests.http_client import http_client
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until


class Service:
    """What a test may ask of a running service."""

    def __init__(self, pool: asyncpg.Pool, broker: MosquittoServer | None, port: int) -> None:
        self.pool = pool
        self._broker = broker
        self._tokens: dict[UUID, str] = {}
        self.url = f"http://127.0.0.1:{port}"

    @property
    def broker(self) -> MosquittoServer:
        """Its broker, for a test that has one."""
        assert self._broker is not None
        return self._broker

    async def add_integration(self, name: str = "m", **settings: object) -> UUID:
        """Add an active mqtt integration of an organization of its own."""
        organization = await self.pool.fetchval(
            "insert into organizations (name, slug) values ($1, $1) returning id", name
        )
        text = orjson.dumps(
            {"host": "127.0.0.1", "port": self.broker.port, "protocol": "5", **settings}
        ).decode()
        integration: UUID = await self.pool.fetchval(
            "insert into device_integrations (organization_id, integration_type, name, settings)"
            " values ($1, 'mqtt', $2, $3) returning id",
            organization,
            name,
            text,
        )
        return integration

    async def add_webhooks(
        self, name: str = "w", kind: str = "golioth", secret: str | None = None, **settings: object
    ) -> UUID:
        """Add an active integration that takes webhooks, and wait until the service knows it."""
        organization = await self.pool.fetchval(
            "insert into organizations (name, slug) values ($1, $1) returning id", name
        )
        integration: UUID = await self.pool.fetchval(
            "insert into device_integrations (organization_id, integration_type, name, settings, webhook_enabled,"
            " webhook_secret) values ($1, $2, $3, $4, true, $5) returning id",
            organization,
            kind,
            name,
            orjson.dumps(settings).decode(),
            secret,
        )
        await self.knows(integration)
        return integration

    async def knows(self, integration: UUID) -> None:
        """Wait until the service takes webhooks of an integration."""
        async with http_client() as client:

            async def known() -> bool:
                answer = await client.options(f"{self.url}/webhooks/{integration}")
                return answer.status_code not in (404, 503)

            await until(known, 10, "the service knows the integration")

    async def connected(self, integration: UUID, within_s: float = 10) -> None:
        """Wait until the integration's session is connected."""
        query = (
            "select count(*) from rollcall.mqtt_sessions where integration_id = $1 and state = 'connected'"
        )
        await self.sees(query, 1, integration, within_s=within_s)

    async def publish(self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False) -> None:
        """Publish one message and wait for the broker's PUBACK."""
        async with aiomqtt.Client("127.0.0.1", self.broker.port) as client:
            await client.publish(topic, payload, qos=qos, retain=retain)

    async def ready(self) -> httpx.Response:
        """Ask /readyz with a token that may read every organization's integrations, one after the other.

        The answer is the last one, with the sessions and slots of all.
        """
        shown: dict[str, list[Any]] = {"sessions": [], "slots": []}
        async with http_client(base_url=self.url) as client:
            for organization in [row["id"] for row in await self.pool.fetch("select id from organizations")]:
                if organization not in self._tokens:
                    made = await tokens.create(self.pool, organization, "ready", ["read"], None)
                    self._tokens[organization] = made[1]
                told = {"authorization": f"Bearer {self._tokens[organization]}"}
                answer = await client.get("/readyz", headers=told)
                for name, found in shown.items():
                    found += answer.json().get(name, ())
        shown["sessions"].sort(key=lambda one: one["integration"])
        return httpx.Response(answer.status_code, json={**answer.json(), **shown})

    async def sees(self, query: str, value: Any, *arguments: Any, within_s: float = 10) -> None:
        """Wait until the query's value is `value`."""
        found: Any = None

        async def equal() -> bool:
            nonlocal found
            found = await self.pool.fetchval(query, *arguments)
            return bool(found == value)

        try:
            await until(equal, within_s, query)
        except AssertionError:
            assert found == value, query


@contextlib.asynccontextmanager
async def running(
    database: str,
    broker: MosquittoServer | None,
    amazon: httpx.AsyncBaseTransport | None = None,
    **flags: Any,
) -> AsyncIterator[Service]:
    """Run a service against `database` until the block ends; a service that ends by itself fails the test.

    Without a broker it serves HTTP alone.
    """
    own = {"database_url": database, "marker_interval_s": 0.3, "sweep_every_s": 0.3, "http_port": 0}
    settings = load_settings(**{**own, "mqtt": "on" if broker else "off", **flags})
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, stop, bound=port.set_result, amazon=amazon))
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        try:
            if settings.http == "on":
                await asyncio.wait({serving, port}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    serving.result()
            yield Service(pool, broker, port.result() if settings.http == "on" else 0)
            assert not serving.done(), serving.exception()
        finally:
            stop.set()
            await asyncio.wait_for(serving, 15)
