"""(i) naive: aiomqtt, and one UPDATE a message.

aiomqtt acknowledges a message when it puts it into its queue: what is queued when the process dies is lost.
"""

import asyncio

import aiomqtt
import asyncpg
import orjson
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benches.contenders.place import HOST, SESSION_EXPIRY_S, TOPIC, Place

UPDATE = (
    "update devices set battery_level = $3, signal_strength = $4, last_seen = to_timestamp($5), status = 'online',"
    " updated_at = now() where integration_id = $1 and external_device_id = $2"
)


def client(place: Place) -> aiomqtt.Client:
    """Return a client that takes up its session."""
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    return aiomqtt.Client(
        HOST,
        place.port,
        identifier=place.client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
    )


async def run(place: Place) -> None:
    """Serve until cancelled."""
    database = await asyncpg.connect(place.database)
    async with client(place) as mqtt:
        await mqtt.subscribe(TOPIC, qos=1)
        async for message in mqtt.messages:
            body = orjson.loads(message.payload)
            device = message.topic.value.split("/")[1]
            await database.execute(
                UPDATE, place.integration_id, device, body["battery"], body["rssi"], body["ts"] / 1e6
            )


if __name__ == "__main__":
    asyncio.run(run(Place.from_environment()))
