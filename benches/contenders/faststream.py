"""FastStream's MQTT broker (its client is zmqtt) and asyncpg: one handler, one UPDATE a message.

Run by the Python of an environment of its own. Its defaults acknowledge a message when the handler has ended.
"""

import asyncio

import asyncpg
from faststream import FastStream, Path
from faststream.mqtt import MQTTBroker, QoS
from pydantic import BaseModel

from benches.contenders.place import HOST, SESSION_EXPIRY_S, Place

UPDATE = (
    "update devices set battery_level = $3, signal_strength = $4, last_seen = to_timestamp($5), status = 'online',"
    " updated_at = now() where integration_id = $1 and external_device_id = $2"
)


class Telemetry(BaseModel):
    """What a device says."""

    battery: int
    rssi: int
    ts: int


def application(place: Place) -> FastStream:
    """Return the application: a persistent session, QoS 1."""
    broker = MQTTBroker(
        HOST,
        port=place.port,
        client_id=place.client_id,
        clean_session=False,
        session_expiry_interval=SESSION_EXPIRY_S,
        logger=None,
    )
    app = FastStream(broker, logger=None)
    pools: list[asyncpg.Pool] = []

    @app.on_startup
    async def connect() -> None:
        pools.append(await asyncpg.create_pool(place.database))

    @broker.subscriber("devices/{device}/telemetry", qos=QoS.AT_LEAST_ONCE)
    async def store(body: Telemetry, device: str = Path()) -> None:
        await pools[0].execute(UPDATE, place.integration_id, device, body.battery, body.rssi, body.ts / 1e6)

    return app


if __name__ == "__main__":
    asyncio.run(application(Place.from_environment()).run())
