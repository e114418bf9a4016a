"""Choice of the adapter: '5', '3.1.1', or 'auto'."""

from ingest.errors import BrokerRefused, Misconfigured, NoConnack
from ingest.mqtt.port import Broker, Clock, Connected, Connection
from ingest.mqtt.reasons import UNSUPPORTED_PROTOCOL_VERSION
from ingest.mqtt.v5 import Mqtt5Connection


async def open_connection(protocol: str, broker: Broker, clock: Clock) -> tuple[Connection, Connected]:
    """Connect with the adapter that `protocol` names; 'auto' is 5, and 3.1.1 where the broker refuses 5.

    A broker refuses by saying so, by hanging up, or by saying nothing: that costs connect_timeout_s once (amqtt).
    Any other refusal (a wrong password) is final, and a broker that cannot be reached is not asked twice.
    Raises: BrokerAway and its kinds; Misconfigured for an unknown protocol.
    """
    if protocol not in ("5", "3.1.1", "auto"):
        raise Misconfigured(f"protocol {protocol!r} is not known: use '5', '3.1.1' or 'auto'")
    if protocol != "3.1.1":
        newer = Mqtt5Connection(broker, clock)
        try:
            return newer, await newer.connect()
        except (BrokerRefused, NoConnack) as refused:
            if protocol == "5" or refused.code not in (None, UNSUPPORTED_PROTOCOL_VERSION):
                raise
    from ingest.mqtt.v311 import Mqtt311Connection  # paho-mqtt: only where it is needed

    older = Mqtt311Connection(broker, clock)
    return older, await older.connect()
