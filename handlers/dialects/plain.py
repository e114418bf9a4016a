"""The dialect `plain`: JSON telemetry, and connection or status messages as a word or JSON.

Reference for device engineers: docs/dialects/plain.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from handlers.events import (
    MIN_AT,
    Decoded,
    DeviceKey,
    FieldError,
    Liveness,
    Micros,
    Observation,
    Presence,
    Publish,
)
from handlers.shapes import Fields
from handlers.telemetry import NOTHING, capped, read
from handlers.text import clipped, dead, described, shown
from handlers.timestamps import usable
from handlers.topics import Topics
from handlers.words import ACCEPTED, meaning, spoken, went_offline

MAX_ARRAY = 1000
"""Observations in one message."""

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE
_NOTHING = Decoded()
RECEIPT = Liveness()
_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments: 0.2 us less an observation."""


@dataclass(frozen=True, slots=True)
class Context:
    """What decoding needs to know about an integration. `field_paths`: field or reading name -> dotted path."""

    integration_id: UUID
    topics: Topics
    liveness: Liveness = RECEIPT
    field_paths: Mapping[str, str] = field(default_factory=dict)
    gap_since: Micros = MIN_AT
    """The presence time of a retained offline word: the beginning of the gap in hearing; MIN_AT: there is none."""


def decode(publish: Publish, context: Context, heard_until: Micros | None) -> Decoded:
    """Turn one publish into observations; whatever the bytes, this raises nothing.

    `heard_until` is set only while a backlog is drained: until when this session is known to have heard everything.
    """
    route = context.topics.route(publish.topic)
    if route is None:
        return dead("topic", f'no pattern matches "{shown(publish.topic)}": add one to the setting topics')
    if route.error is not None:
        return dead("device_id", route.error)
    payload = publish.payload
    if publish.size > len(payload):
        return dead(
            "oversized", f"{publish.size} bytes exceed max_payload; the first {len(payload)} were kept"
        )
    is_telemetry = route.kind == "telemetry"
    if not payload or (is_telemetry and publish.retain):
        return _NOTHING
    if not is_telemetry:
        return _presence(publish, context, route.device, heard_until)
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return dead("json", f"the payload is not JSON: {error}")
    return telemetry(body, publish, context, route.device, heard_until)


def telemetry(
    body: object, publish: Publish, context: Context, device: DeviceKey, heard_until: Micros | None
) -> Decoded:
    """Turn what the payload of a telemetry message holds as JSON into observations, as `decode` does."""
    if isinstance(body, list):
        return _array(body, publish, context, device, heard_until)
    if not isinstance(body, dict):
        return dead("shape", f"the payload is {described(body)}: send a JSON object or an array of objects")
    errors: list[FieldError] = []
    fields = read(body, context.field_paths, errors)
    observation, skewed = _observe(fields, ONLINE, publish, context, device, heard_until)
    if fields.device is not None:
        _compare(fields.device, device, errors)
    return _new(Decoded, ((observation,), capped(errors) if errors else (), skewed, None))


def _array(
    bodies: list[Any], publish: Publish, context: Context, device: DeviceKey, heard_until: Micros | None
) -> Decoded:
    """Decode a batch of telemetry objects; an entry that is no object costs only itself."""
    if len(bodies) > MAX_ARRAY:
        return dead("shape", f"an array of {len(bodies)} entries: send at most {MAX_ARRAY} in one message")
    observations: list[Observation] = []
    errors: list[FieldError] = []
    any_skewed = False
    for index, body in enumerate(bodies):
        if body.__class__ is not dict:
            errors.append(FieldError(f"[{index}]", f"is {described(body)}, not an object"))
            continue
        own: list[FieldError] = []
        fields = read(body, context.field_paths, own)
        observation, skewed = _observe(fields, ONLINE, publish, context, device, heard_until)
        if fields.device is not None:
            _compare(fields.device, device, own)
        observations.append(observation)
        errors += [FieldError(f"[{index}].{name}", error) for name, error in own]
        any_skewed = any_skewed or skewed
    if bodies and not observations:
        return dead("shape", "the payload is an array without any object: send an array of objects")
    return Decoded(tuple(observations), capped(errors), any_skewed)


def _presence(publish: Publish, context: Context, device: DeviceKey, heard_until: Micros | None) -> Decoded:
    """Decode a connection or status message."""
    errors: list[FieldError] = []
    fields = NOTHING
    try:
        body = _word_or_json(publish.payload)
    except ValueError as error:
        return dead("json", f"the payload is neither a word nor JSON: {error}")
    if isinstance(body, list):
        return dead("shape", f"the payload is an array: send {ACCEPTED} or a JSON object")
    if isinstance(body, dict):
        fields = read(body, context.field_paths, errors)
        presence = spoken(fields.words)
        said = described(fields.words[0]) if fields.words else "no status, state, connected or event"
    else:
        presence, said = meaning(body), described(body)
    if presence is None:
        return dead("presence", f"the payload says {said}: send {ACCEPTED}")
    if fields.device is not None:
        _compare(fields.device, device, errors)
    observation, skewed = _observe(fields, presence, publish, context, device, heard_until)
    if presence is OFFLINE and not publish.retain:
        return went_offline(observation, fields.time, context.liveness, errors)
    return Decoded((observation,), capped(errors), skewed)


def _word_or_json(payload: bytes) -> object:
    """Return the JSON value when it looks like one, else the bare text. Raises ValueError for neither."""
    head = payload.lstrip()[:1]
    if head in (b"{", b"[", b'"'):
        return orjson.loads(payload)
    return payload.decode()


def _observe(
    fields: Fields,
    presence: Presence,
    publish: Publish,
    context: Context,
    device: DeviceKey,
    heard_until: Micros | None,
) -> tuple[Observation, bool]:
    """Put the fields at their times; the flag tells that the device's clock was not usable."""
    received_at = publish.received_at
    battery, signal, firmware, readings, time, _, _ = fields
    told = time if presence is ONLINE else None
    at, seen_at, skewed = dated(told, received_at, context.liveness, heard_until)
    snapshot = publish.retain
    if snapshot:
        battery, signal, firmware, readings = None, None, (), ()
        seen_at = context.gap_since if presence is OFFLINE else seen_at
    seen = (
        context.integration_id, device, at, seen_at, received_at, "mqtt", None, presence, snapshot,
        battery, signal, firmware, readings, None,
    )  # fmt: skip
    return _new(Observation, seen), skewed


def dated(
    time: Micros | None, received_at: Micros, liveness: Liveness, heard_until: Micros | None
) -> tuple[Micros, Micros, bool]:
    """Return the event time and the presence time of what came with this time, and whether its clock was not usable."""
    if time is None:
        return received_at, received_at, False
    if not usable(time, received_at, liveness.max_ahead):
        return received_at, received_at, True
    drained = heard_until is not None and heard_until <= time <= received_at
    return time, time if liveness.event_time or drained else received_at, False


def _compare(claimed: tuple[str, str], device: DeviceKey, errors: list[FieldError]) -> None:
    name, claim = claimed
    if claim != device.external_id:
        told = f'names "{shown(claim)}", the topic "{shown(device.external_id or "")}": the topic counts'
        errors.append(FieldError(name, clipped(told)))
