"""paho-mqtt without its thread and its socket: it reads from and writes to a pipe."""

from collections.abc import Callable

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from ingest.mqtt.port import Broker
from ingest.mqtt.wire import Wire


class Pipe:
    """What paho takes for its non-blocking socket: bytes that came, and a way to send."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._bytes = b""
        self._at = 0

    @property
    def waiting(self) -> int:
        """Bytes that paho has not read yet."""
        return len(self._bytes) - self._at

    def feed(self, data: bytes) -> None:
        """Append what came."""
        self._bytes = self._bytes[self._at :] + data
        self._at = 0

    def recv(self, buffer_size: int) -> bytes:
        """Return up to so many bytes. Raises: BlockingIOError when there are none."""
        start = self._at
        data = self._bytes[start : start + buffer_size]
        if not data:
            raise BlockingIOError
        self._at = start + len(data)
        return data

    def send(self, buffer: bytes | bytearray) -> int:
        """Hand all of it to the wire."""
        self._wire.write(bytes(buffer))
        return len(buffer)

    def close(self) -> None:
        """Nothing: the wire is closed by the connection."""

    def fileno(self) -> int:
        """Nothing to select on."""
        return -1

    def setblocking(self, _flag: bool, /) -> None:
        """Nothing: it never blocks."""


class Paho(Client):
    """paho on a pipe."""

    def __init__(self, broker: Broker, pipe: Pipe, on_unreadable: Callable[[int, bytes], None]) -> None:
        """`on_unreadable` gets a PUBLISH whose topic is not allowed: its first byte, and all behind the header."""
        # Without reconnect_on_failure=False a CONNACK of code 1 makes paho start over with MQTT 3.1 on its own.
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=broker.clean_start,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._pipe = pipe
        self._on_unreadable = on_unreadable
        self.max_inflight_messages = 0
        if broker.username is not None:
            self.username_pw_set(broker.username, broker.password)

    def _create_socket(self) -> Pipe:
        return self._pipe

    def _handle_publish(self) -> MQTTErrorCode:
        """Keep what paho would refuse (an empty topic), or hand on as a topic that cannot be read."""
        packet = bytes(self._in_packet["packet"])
        topic = packet[2 : 2 + int.from_bytes(packet[:2])]
        if topic and b"\0" not in topic and _is_text(topic):
            return super()._handle_publish()
        self._on_unreadable(self._in_packet["command"], packet)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def _is_text(topic: bytes) -> bool:
    try:
        topic.decode()
    except UnicodeDecodeError:
        return False
    return True
