"""(ii) careful: paho with manual_ack and psycopg, batches of 500 or 100 ms, as one writes it in an afternoon.

It acknowledges after the commit. An older message that comes late overwrites a newer one: it keeps no clocks.
"""

import queue
import time

import orjson
import paho.mqtt.client as paho
import psycopg
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benches.contenders.place import HOST, SESSION_EXPIRY_S, TOPIC, Place

BATCH = 500
WAIT_S = 0.1
UPDATE = (
    "update devices set battery_level = %s, signal_strength = %s, last_seen = to_timestamp(%s), status = 'online',"
    " updated_at = now() where integration_id = %s and external_device_id = %s"
)
Messages = list[paho.MQTTMessage]


def connect(place: Place, inbox: "queue.SimpleQueue[paho.MQTTMessage]") -> paho.Client:
    """Take up the session; what comes goes into `inbox` from paho's thread."""
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, place.client_id, protocol=paho.MQTTv5, manual_ack=True
    )
    client.on_message = lambda _client, _data, message: inbox.put(message)
    client.on_connect = lambda *_: client.subscribe(TOPIC, qos=1)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    client.connect(HOST, place.port, clean_start=False, properties=properties)
    client.loop_start()
    return client


def take(inbox: "queue.SimpleQueue[paho.MQTTMessage]") -> Messages:
    """Wait for a message, then for a full batch or until the time is up."""
    batch = [inbox.get()]
    end = time.monotonic() + WAIT_S
    while len(batch) < BATCH and (left := end - time.monotonic()) > 0:
        try:
            batch.append(inbox.get(timeout=left))
        except queue.Empty:
            break
    return batch


def parameters(message: paho.MQTTMessage, place: Place) -> tuple[object, ...]:
    """Return what the UPDATE of one message needs."""
    body = orjson.loads(message.payload)
    device = message.topic.split("/")[1]
    return body["battery"], body["rssi"], body["ts"] / 1e6, place.integration_id, device


def run(place: Place) -> None:
    """Serve until cancelled."""
    inbox: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
    with psycopg.connect(place.database) as database:
        client = connect(place, inbox)
        while True:
            batch = take(inbox)
            with database.cursor() as cursor:
                cursor.executemany(UPDATE, [parameters(message, place) for message in batch])
            database.commit()
            for message in batch:
                client.ack(message.mid, message.qos)


if __name__ == "__main__":
    run(Place.from_environment())
