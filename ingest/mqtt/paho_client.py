"""A paho client as Rollcall wants it, connected."""

import socket
import ssl

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from ingest.errors import BrokerAway, NoConnack
from ingest.mqtt.port import Broker
from ingest.mqtt.tls import ssl_context, tls_failure

_MAX_INFLIGHT = 65_535
_HANDSHAKE_S = 10.0


class _TlsSocket(ssl.SSLSocket):
    """paho bounds the handshake by the keep-alive interval, and leaves the socket open when it fails."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            self.settimeout(_HANDSHAKE_S)
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def build_client(broker: Broker) -> paho.Client:
    """Build a client that acknowledges by hand, never reconnects and has no thread."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        broker.client_id,
        clean_session=broker.clean_start,
        protocol=paho.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls is not None:
        context = ssl_context(broker.tls)
        context.sslsocket_class = _TlsSocket
        client.tls_set_context(context)
    client.connect_timeout = broker.connect_timeout_s
    client.max_inflight_messages_set(_MAX_INFLIGHT)
    return client


def dial(client: paho.Client, broker: Broker) -> socket.socket:
    """Connect and send CONNECT; blocking, so it belongs in a thread.

    Raises: BrokerAway.
    """
    where = f"{broker.host}:{broker.port}"
    try:
        client.connect(broker.host, broker.port, broker.keep_alive_s)
    except ssl.SSLError as error:
        raise BrokerAway(f"{where}: {tls_failure(error)}") from error
    except OSError as error:
        raise BrokerAway(f"{where} cannot be reached: {error}") from error
    sock = client.socket()
    if not isinstance(sock, socket.socket):
        raise NoConnack("the broker closed the connection without CONNACK")
    return sock
