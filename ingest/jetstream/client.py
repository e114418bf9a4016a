"""One connection to a NATS cluster: opened, and its library's errors in our words."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from typing import Any

from nats.aio.client import Client, RawCredentials
from nats.aio.transport import TcpTransport
from nats.errors import Error
from nats.js.errors import NotFoundError

from ingest.errors import AddressRefused, BrokerAway, BrokerRefused, Misconfigured
from ingest.integrations.cluster import Cluster
from ingest.mqtt.port import Broker
from ingest.mqtt.reasons import without
from ingest.mqtt.tls import read_context, tls_failure

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
    transport = _Checked(broker)
    # the library's own would look the name up in the event loop's executor, and go where a server says
    client._transport = transport
    try:
        async with asyncio.timeout(broker.connect_timeout_s):
            credentials = await _credentials(broker, cluster)
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
                **credentials,
            )
    except (Error, OSError, TimeoutError) as error:
        with contextlib.suppress(Exception):  # it never was whole: what its end says is of no use
            await client.close()
        raise transport.refused or _in_words(error, broker, cluster) from None


class _Checked(TcpTransport):
    """TCP through the gate, to the named servers and to those that these name. `refused`: where it may not go."""

    def __init__(self, broker: Broker) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._egress = broker.egress
        self.refused: AddressRefused | None = None

    async def connect(self, uri: Any, buffer_size: int, connect_timeout: int) -> None:
        """Connect; the library goes on to another server where this fails."""
        try:
            async with asyncio.timeout(connect_timeout):
                connected = await self._egress.connected(uri.hostname, uri.port)
        except AddressRefused as refused:
            self.refused = refused
            raise
        reader, writer = await asyncio.open_connection(sock=connected, limit=buffer_size)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer

    def __bool__(self) -> bool:
        """Return True: the library makes a transport of its own in the place of one that is false."""
        return True


async def _credentials(broker: Broker, cluster: Cluster) -> dict[str, Any]:
    files, creds, nkey = broker.files, cluster.creds, cluster.nkey
    if cluster.creds_file is not None:
        creds = await files.read("nats creds_file", cluster.creds_file)
    if cluster.nkey_file is not None:
        nkey = await files.read("nats nkey_file", cluster.nkey_file)
    for seed in (nkey, creds and _seed_in(creds)):
        if seed:
            _check_seed(seed)
    wanted = {
        "user": broker.username,
        "password": broker.password,
        "user_credentials": RawCredentials(_checked_creds(creds)) if creds else None,
        "nkeys_seed_str": nkey,
        "tls": await read_context(broker.tls, files) if broker.tls else None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _seed_in(creds: str) -> str:
    """Return the line behind the one that announces a seed."""
    return creds.partition("BEGIN USER NKEY SEED")[2].partition("\n")[2].partition("\n")[0]


def _check_seed(seed: str) -> None:
    """Refuse what is no seed: the library's own errors are of no kind that a connection expects.

    Raises: Misconfigured.
    """
    try:
        import_module("nkeys").from_seed(bytearray(seed.strip().encode())).wipe()
    except Exception:
        raise Misconfigured("nats creds, nkey: it holds no seed of an nkey") from None


def _checked_creds(text: str) -> str:
    """Return the text of a creds file; the library would look for its parts without end. Raises: Misconfigured."""
    if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
        raise Misconfigured("nats creds: it holds no JWT and no seed of a NATS user")
    return text


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


async def probe_cluster(broker: Broker, cluster: Cluster, within_s: float) -> None:
    """Log in and see a message of one's own come back. Raises: Misconfigured, BrokerAway, BrokerRefused."""
    client, subject = Client(), f"rollcall.{broker.client_id}.marker"
    await connect(client, broker, cluster, _ignored, _ignored)
    try:
        with translated():
            subscription = await client.subscribe(subject)
            await client.publish(subject, b"marker")
            await subscription.next_msg(timeout=within_s)
    except BrokerAway as away:
        told = f"logged in, but what is published to {subject} does not come back within {within_s:g} s"
        raise Misconfigured(f"{told}: {away}") from None
    finally:
        with contextlib.suppress(Error, OSError, TimeoutError):
            async with asyncio.timeout(within_s):
                await client.close()


async def _ignored(*_: object) -> None:
    """Nothing: the caller hears of it by itself."""
