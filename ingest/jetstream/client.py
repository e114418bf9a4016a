"""One connection to a NATS cluster: opened, and its library's errors in our words."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import NotFoundError

from ingest.errors import BrokerAway, BrokerRefused
from ingest.jetstream.cluster import Cluster
from ingest.mqtt.port import Broker
from ingest.mqtt.reasons import without
from ingest.mqtt.tls import ssl_context, tls_failure

NOT_AUTHORIZED = 0x87
"""What MQTT 5 calls it."""


async def connect(
    client: Client,
    broker: Broker,
    cluster: Cluster,
    closed: Callable[[], Awaitable[None]],
    failed: Callable[[Exception], Awaitable[None]],
) -> None:
    """Connect to one of the servers. It does not reconnect by itself: `closed` is called once when it ends.

    Raises: BrokerAway, BrokerRefused.
    """
    try:
        async with asyncio.timeout(broker.connect_timeout_s):
            await client.connect(
                [f"{'tls' if broker.tls else 'nats'}://{server}" for server in cluster.servers],
                name=broker.client_id,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                ping_interval=broker.keep_alive_s,
                max_outstanding_pings=1,
                closed_cb=closed,
                error_cb=failed,
                skip_subject_validation=True,
                **_credentials(broker, cluster),
            )
    except (Error, OSError, TimeoutError) as error:
        with contextlib.suppress(Exception):  # it never was whole: what its end says is of no use
            await client.close()
        raise _in_words(error, broker, cluster) from None


def _credentials(broker: Broker, cluster: Cluster) -> dict[str, Any]:
    wanted = {
        "user": broker.username,
        "password": broker.password,
        "user_credentials": cluster.creds_file,
        "nkeys_seed": cluster.nkey_file,
        "tls": ssl_context(broker.tls) if broker.tls else None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _in_words(error: Exception, broker: Broker, cluster: Cluster) -> BrokerAway:
    where = ", ".join(cluster.servers)
    if isinstance(error, ssl.SSLError):
        return BrokerAway(f"{where}: {tls_failure(error)}")
    said = without(broker.password, str(error)) or type(error).__name__
    if "authorization" in said.lower() or "authentication" in said.lower():
        return BrokerRefused(NOT_AUTHORIZED, f"not authorized: {said}")
    if isinstance(error, TimeoutError):
        said = f"no answer in {broker.connect_timeout_s:g} s"
    return BrokerAway(f"none of the servers {where} can be reached: {said}")


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what the library raises on a request into BrokerAway, but for the answer not found."""
    try:
        yield
    except NotFoundError:
        raise
    except (Error, OSError, TimeoutError) as error:
        raise BrokerAway(f"JetStream: {error or type(error).__name__}") from error
