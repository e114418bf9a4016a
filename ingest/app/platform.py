"""The platform's API, wired: what it asks of the rest of the service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import asyncpg
from fastapi import FastAPI

from handlers.events import Micros, Observation
from ingest.api.application import close_api, create_api, readable_integrations
from ingest.api.dependencies import Dependencies, Synced
from ingest.api.settings import load_api_settings
from ingest.app.pipeline import Pipeline, open_pool
from ingest.errors import Misconfigured
from ingest.http.health import Readable
from ingest.integrations.planner import Planner
from ingest.integrations.plans import IntegrationPlan
from ingest.integrations.settings import webhooks_are_proved
from ingest.jobs.deployments import EVERY_S, Deployments
from ingest.pipeline.observed import ObservedSegment
from ingest.pipeline.replay import Replay
from ingest.pipeline.segment import IntegrationContext
from ingest.providers.cache import ProviderCache
from ingest.providers.mqtt import MqttSide
from ingest.providers.port import Provider
from ingest.reconcile.phases import Options
from ingest.reconcile.plan import provider_of
from ingest.reconcile.reconciler import Reconciler
from ingest.sessions.probe import probe
from ingest.sessions.supervisor import Integrations
from ingest.store.commit.apply import Applier
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.config.integrations import IntegrationRow, IntegrationRows
from ingest.store.config.own_devices import OwnDevices
from ingest.store.people.deployments import Progress
from ingest.store.tenants import Tenants
from ingest.webhooks.hooks import parse_webhook_settings

COMMITTED_WITHIN_S = 10.0
_ONLY_KNOWN = UnknownPolicy("ignore")


@dataclass(frozen=True, slots=True)
class Platform:
    """The application, and what goes on beside it."""

    app: FastAPI
    deployments: Deployments
    readable: Readable


@contextlib.asynccontextmanager
async def platform_side(
    pipeline: Pipeline, mqtt: Integrations, reconciler: Reconciler, holder: str
) -> AsyncIterator[Platform]:
    """Wire it; at the end what is under way towards providers is ended."""
    settings = pipeline.settings
    async with contextlib.AsyncExitStack() as closing:
        # a pool of its own: no reader keeps the committer waiting
        pool = await open_pool(settings, least=0, most=4)
        closing.callback(pool.terminate)
        planner = Planner(settings, pipeline.keyring, pipeline.egress, pipeline.files)
        rest = _Rest(pipeline, pool, mqtt, reconciler, planner)
        providers: ProviderCache[IntegrationRow] = ProviderCache(rest.row, rest.provider)
        closing.push_async_callback(providers.aclose)
        replay = Replay(
            pool,
            planner,
            lambda row: parse_webhook_settings(settings, row.id, row.name, row.settings_object),
            Applier(pool),
            Identities(pool),
        )
        dependencies = Dependencies(
            tenants=await Tenants.probed(pool),
            sessions=pipeline.sessions,
            keyring=pipeline.keyring,
            clock=pipeline.clock,
            providers=providers,
            sync=rest.sync,
            observe=rest.observe,
            replay=replay.replay,
            adopt=rest.adopt,
            settings=load_api_settings(),
            max_integrations=settings.max_integrations,
            on_status=pipeline.measured.api,
        )
        app = create_api(dependencies)
        closing.push_async_callback(close_api, app)
        # six terms: asking the providers may take longer than three
        turns = pipeline.schedule("deployments", holder, EVERY_S, terms=6)
        deployments = Deployments(Progress(pool), providers, turns)
        yield Platform(app, deployments, partial(readable_integrations, app))


class _Rest:
    """The rest of the service, as the API asks for it."""

    def __init__(
        self,
        pipeline: Pipeline,
        pool: asyncpg.Pool,
        mqtt: Integrations,
        reconciler: Reconciler,
        planner: Planner,
    ) -> None:
        self._pipeline = pipeline
        self._planner = planner
        self._mqtt = mqtt
        self._reconciler = reconciler
        self._rows = IntegrationRows(pool, timeout_s=5.0)
        self._devices = OwnDevices(pool)

    async def row(self, integration_id: UUID) -> IntegrationRow:
        """Return what a provider is made of. Raises: Misconfigured, DatabaseAway."""
        row = await self._rows.one(integration_id)
        if row is None:
            raise Misconfigured(f"the integration {integration_id} is gone, or not active")
        return row

    def provider(self, row: IntegrationRow) -> Provider:
        """Return a row's provider, its key decrypted in memory only. Raises: Misconfigured."""
        return provider_of(row, self._pipeline.keyring, self._pipeline.egress, mqtt=self._broker(row))

    def _broker(self, row: IntegrationRow) -> MqttSide:
        integration_id = row.id

        async def publish(topic: str, payload: bytes, retain: bool) -> None:
            await self._mqtt.publish(integration_id, topic, payload, retain=retain)

        async def health() -> Mapping[str, str]:
            probed = await probe(self._plan(row), self._pipeline.clock)
            said = {"login": f"MQTT {probed.protocol}", "marker": "came back"}
            return {**said, "session": self._mqtt.state(integration_id)}

        return MqttSide(
            lambda after, limit: self._devices.page(integration_id, after, limit),
            lambda external_id: self._devices.one(integration_id, external_id),
            publish,
            health,
        )

    async def sync(self, integration_id: UUID, full: bool, dry_run: bool) -> Synced:
        """Reconcile now. Raises: RunUnderWay, Misconfigured, DatabaseAway."""
        outcome = await self._reconciler.reconcile(integration_id, Options(dry_run=dry_run, full=full))
        run = outcome.run
        errors = (*run.errors, *([str(outcome.error)] if outcome.error else []))
        return Synced(run.listed, run.created, run.changed, run.missing, errors, run.duration_s or 0.0)

    async def observe(self, observations: Sequence[Observation]) -> None:
        """Put these into the open batch, and return once they are committed. Raises: TimeoutError."""
        pipeline, loop = self._pipeline, asyncio.get_running_loop()
        if not observations:
            return
        integration_id = observations[0].integration_id
        feed = IntegrationContext(
            integration_id, _ONLY_KNOWN, await self._offline_after(integration_id), "api"
        )
        done: asyncio.Future[None] = loop.create_future()
        pipeline.intake.add(ObservedSegment(feed, observations, done), 0)
        async with asyncio.timeout(COMMITTED_WITHIN_S):
            await done

    async def adopt(self, integration_id: UUID) -> int:
        """Apply what is parked for devices that have a row by now."""
        row = await self.row(integration_id)
        proved = webhooks_are_proved(row.settings_object)
        if row.integration_type == "mqtt":
            proved = self._plan(row).policy.matches_others
        after = await self._offline_after(integration_id)
        return await self._pipeline.parking.adopt(integration_id, after, matches_others=proved)

    def _plan(self, row: IntegrationRow) -> IntegrationPlan:
        return self._planner.plan(row)

    async def _offline_after(self, integration_id: UUID) -> Micros:
        row = await self.row(integration_id)
        _, feed = parse_webhook_settings(self._pipeline.settings, row.id, row.name, row.settings_object)
        return feed.offline_after
