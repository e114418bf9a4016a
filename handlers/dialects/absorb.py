"""A publish straight into the evidence of its device: the common telemetry without an observation in between.

It knows nothing of its own: what is not an object of plain numbers goes the whole way, and the result is the same.
"""

import orjson

from handlers.dialects.plain import Context, dated, decode, telemetry, tolerantly
from handlers.events import Decoded, DeviceKey, Micros, Publish
from handlers.evidence import Evidence, coalesce
from handlers.shapes import quickly_read

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
    if (
        route is None
        or route.error is not None
        or route.kind != "telemetry"
        or retain
        or size != len(payload)
    ):
        return _coalesced(decode(publish, context, heard_until), devices)
    device = route.device
    try:
        body = _loads(payload)
    except orjson.JSONDecodeError:
        decoded = tolerantly(publish, context, device, heard_until) if payload else _NOTHING_TO_TELL
        return _coalesced(decoded, devices)
    fields = quickly_read(body) if body.__class__ is dict and not context.field_paths else None
    if fields is None or (fields.device is not None and fields.device[1] != device.external_id):
        return _coalesced(telemetry(body, publish, context, device, heard_until), devices)
    battery, signal, _, readings, time, _, _ = fields
    at, seen_at, skewed = dated(time, received_at, context.liveness, heard_until)
    seen = devices.get(device)
    if seen is None:
        seen = devices[device] = Evidence()
    seen.add_telemetry(at, seen_at, battery, signal)
    for name, value, unit in readings:
        seen.add_reading(name, (at, value, unit))
    return _SKEWED if skewed else _NOTHING_TO_TELL


def _coalesced(decoded: Decoded, devices: dict[DeviceKey, Evidence]) -> Decoded:
    coalesce(decoded.observations, devices)
    return decoded
