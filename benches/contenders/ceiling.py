"""(iii) ceiling: mqtt5, orjson, the newest of each device, one UPDATE FROM unnest a batch, PUBACK, nothing else.

It acknowledges after the commit. No validation, no clocks, no events, no other topics: what the parts can do at most.
"""

import asyncio
import struct
from uuid import UUID

import asyncpg
import mqtt5
import orjson

from benches.contenders.place import HOST, SESSION_EXPIRY_S, TOPIC, Place

BATCH = 4_000
RECEIVE_MAXIMUM = 16_384
UPDATE = (
    "update devices d set battery_level = t.b, signal_strength = t.s, last_seen = to_timestamp(t.ts / 1e6),"
    " status = 'online', updated_at = now()"
    " from unnest($1::uuid[], $2::int[], $3::int[], $4::bigint[]) as t (id, b, s, ts) where d.id = t.id"
)
PUBACK = struct.Struct(">HH").pack


class Reader(asyncio.Protocol):
    """Parses what comes and keeps it until `take`."""

    def __init__(self, place: Place) -> None:
        self.transport: asyncio.Transport
        self.waiting: list[mqtt5.PublishPacket] = []
        self.something = asyncio.Event()
        self._place = place
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        connect = mqtt5.ConnectPacket(
            self._place.client_id,
            clean_start=False,
            session_expiry_interval=SESSION_EXPIRY_S,
            receive_max=RECEIVE_MAXIMUM,
        )
        transport.write(connect.write())

    def data_received(self, data: bytes) -> None:
        view = memoryview(self._rest + data)
        at, end = 0, len(view)
        while at < end:
            try:
                packet, size = mqtt5.read(view[at:])
            except IndexError:
                break
            at += size
            if type(packet) is mqtt5.PublishPacket:
                self.waiting.append(packet)
            elif type(packet) is mqtt5.ConnAckPacket:
                one = mqtt5.TopicFilter(TOPIC, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
                self.transport.write(mqtt5.SubscribePacket(1, [one]).write())
        self._rest = bytes(view[at:])
        if self.waiting:
            self.something.set()

    async def take(self) -> list[mqtt5.PublishPacket]:
        """Wait for and return up to a batch, in order."""
        while not self.waiting:
            self.something.clear()
            await self.something.wait()
        batch = self.waiting[:BATCH]
        del self.waiting[:BATCH]
        return batch


async def commit(
    database: asyncpg.Connection, ids: dict[str, UUID], batch: list[mqtt5.PublishPacket]
) -> None:
    """Write the newest of each device."""
    newest = {packet.topic: orjson.loads(packet.payload) for packet in batch}
    bodies = newest.values()
    await database.execute(
        UPDATE,
        [ids[topic] for topic in newest],
        [body["battery"] for body in bodies],
        [body["rssi"] for body in bodies],
        [body["ts"] for body in bodies],
    )


async def run(place: Place) -> None:
    """Serve until cancelled."""
    database = await asyncpg.connect(place.database)
    rows = await database.fetch(
        "select id, external_device_id as name from devices where integration_id = $1", place.integration_id
    )
    ids = {f"devices/{row['name']}/telemetry": row["id"] for row in rows}
    _, reader = await asyncio.get_running_loop().create_connection(lambda: Reader(place), HOST, place.port)
    while True:
        batch = await reader.take()
        await commit(database, ids, batch)
        reader.transport.write(b"".join([PUBACK(0x4002, packet.packet_id) for packet in batch]))


if __name__ == "__main__":
    asyncio.run(run(Place.from_environment()))
