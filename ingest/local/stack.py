"""Everything that `rollcall up` runs, in the order in which it starts; it stops in the reverse one."""

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingest.errors import Misconfigured
from ingest.local.broker import LocalBroker
from ingest.local.child import end_left_over
from ingest.local.ports import free_port
from ingest.local.postgres import LocalPostgres
from ingest.local.service import Service
from ingest.migrate import migrate
from ingest.store.people import integrations, organizations
from ingest.store.people.session import session
from ingest.store.people.summary import connected_since

ORGANIZATION = "demo"
INTEGRATION = "local"
MIN_OFFLINE_AFTER_S = 60
LISTENS_WITHIN_S = 10.0
USUAL_HTTP_PORT = 8080


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs. The database is migrated and the service listens to the broker."""

    postgres: LocalPostgres
    broker: LocalBroker
    service: Service


@contextlib.asynccontextmanager
async def stack(folder: Path, *, message_every_s: float) -> AsyncIterator[Stack]:
    """Start it all on the data in `folder`, and stop it all.

    `message_every_s`: how often a device speaks on average, which decides when it counts as silent.
    Raises: Misconfigured (also when another run uses the folder), DatabaseAway, BrokerAway.
    """
    with _alone(folder):
        for name in ("rollcall", "broker", "postgres"):
            await asyncio.to_thread(end_left_over, folder / f"{name}.pid")
        async with contextlib.AsyncExitStack() as stops:
            postgres, broker = LocalPostgres(folder / "postgres"), LocalBroker(folder / "broker")
            stops.push_async_callback(postgres.stop)
            await postgres.start()
            stops.push_async_callback(broker.stop)
            await broker.start()
            await migrate(postgres.dsn)
            await _add_integration(postgres, broker, max(MIN_OFFLINE_AFTER_S, round(message_every_s * 10)))
            service = Service(folder / "rollcall.log", postgres.dsn, free_port(USUAL_HTTP_PORT))
            stops.push_async_callback(service.stop)
            began = datetime.now(UTC)
            await service.start()
            await _until_listening(postgres.dsn, began, service)
            yield Stack(postgres, broker, service)


async def _add_integration(postgres: LocalPostgres, broker: LocalBroker, offline_after_s: int) -> None:
    settings = {
        "host": "127.0.0.1",
        "port": broker.port,
        "protocol": broker.protocol,
        "offline_after_s": min(offline_after_s, 31_536_000),
        "unknown_devices": {"policy": "create", "max_per_minute": 1_000_000, "max_total": 10_000_000},
    }
    async with session(postgres.dsn) as connection, connection.transaction():
        organization_id = await organizations.ensure(connection, ORGANIZATION)
        identifier = await integrations.id_for(connection, organization_id, INTEGRATION)
        await integrations.save(connection, identifier, organization_id, INTEGRATION, settings, replace=True)


async def _until_listening(dsn: str, began: datetime, service: Service) -> None:
    """Wait until the service has subscribed, so that nothing is published into the void; a bounded while."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LISTENS_WITHIN_S), session(dsn) as connection:
            for _ in range(int(LISTENS_WITHIN_S / 0.05)):
                if service.pid is None or await connected_since(connection, began):
                    break
                await asyncio.sleep(0.05)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured(
                f"another `rollcall up` uses {folder}: stop it, or pass another --data"
            ) from None
        yield
