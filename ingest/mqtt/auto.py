"""Which adapter: '5', '3.1.1', or 'auto'."""

from ingest.errors import Misconfigured
from ingest.mqtt.port import Broker, Clock, Connected, Connection
from ingest.mqtt.v5 import Mqtt5Connection


async def open_connection(protocol: str, broker: Broker, clock: Clock) -> tuple[Connection, Connected]:
    """Connect with the adapter that `protocol` names.

    Raises: BrokerAway and its kinds; Misconfigured for an unknown protocol.
    """
    if protocol != "5":
        raise Misconfigured(f"protocol {protocol!r} is not there yet: use '5'")
    connection = Mqtt5Connection(broker, clock)
    return connection, await connection.connect()
