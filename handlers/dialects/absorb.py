"""A publish straight into the evidence of its device: the common telemetry without an observation in between.

It knows nothing of its own: what is not an object of plain numbers goes the whole way, and the result is the same.
"""

import orjson

from handlers.dialects.plain import Context, decode
from handlers.events import Decoded, DeviceKey, Micros, Publish
from handlers.evidence import Evidence, coalesce
from handlers.shapes import quickly_read
from handlers.timestamps import usable

_loads = orjson.loads
_NOTHING_TO_TELL = Decoded()
_SKEWED = Decoded(skewed=True)


def absorb(
    publish: Publish, context: Context, heard_until: Micros | None, devices: dict[DeviceKey, Evidence]
) -> Decoded:
    """Decode a publish and coalesce what it says; whatever the bytes, this raises nothing.

    What is returned tells of errors; its observations are in `devices` already.
    """
    topic, payload, _, retain, _, _, received_at, size, _ = publish
    route = context.topics.route(topic)
    if route is None or route.kind != "telemetry" or retain or size != len(payload) or context.field_paths:
        return _the_whole_way(publish, context, heard_until, devices)
    try:
        body = _loads(payload)
    except orjson.JSONDecodeError:
        body = None
    fields = quickly_read(body) if body.__class__ is dict and route.error is None else None
    if fields is None:
        return _the_whole_way(publish, context, heard_until, devices)
    battery, signal, _, readings, time, _, claimed = fields
    device = route.device
    if claimed is not None and claimed[1] != device.external_id:
        return _the_whole_way(publish, context, heard_until, devices)
    at = seen_at = received_at
    told = _NOTHING_TO_TELL
    if time is not None:
        liveness = context.liveness
        if not usable(time, received_at, liveness.max_ahead):
            told = _SKEWED
        else:
            at = time
            if liveness.event_time or (heard_until is not None and heard_until <= time <= received_at):
                seen_at = time
    seen = devices.get(device)
    if seen is None:
        seen = devices[device] = Evidence()
    seen.add_telemetry(at, seen_at, battery, signal)
    for name, value, unit in readings:
        seen.add_reading(name, (at, value, unit))
    return told


def _the_whole_way(
    publish: Publish, context: Context, heard_until: Micros | None, devices: dict[DeviceKey, Evidence]
) -> Decoded:
    decoded = decode(publish, context, heard_until)
    coalesce(decoded.observations, devices)
    return decoded
