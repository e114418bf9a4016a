"""The dialect `plain`: JSON telemetry, and connection or status messages as a word or JSON.

Reference for device engineers: docs/dialects/plain.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from handlers import tolerant
from handlers.ages import ages
from handlers.events import (
    MAX_AT,
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
from handlers.keys import PRESENCE
from handlers.shapes import Fields
from handlers.telemetry import NOTHING, capped, read
from handlers.text import bad_field, dead, described, truncate
from handlers.timestamps import device_usable
from handlers.topics import Topics
from handlers.words import ACCEPTED, WORDS, Words, meaning, spoken, went_offline

MAX_ARRAY = 1000
"""Observations in one message."""

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE
_NOTHING = Decoded()
RECEIPT = Liveness()
_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments: 0.2 us less an observation."""


@dataclass(frozen=True, slots=True)
class Context:
    """What decoding needs to know about an integration. `field_paths`: field or reading name -> handlers/paths.py."""

    integration_id: UUID
    topics: Topics
    liveness: Liveness = RECEIPT
    field_paths: Mapping[str, str] = field(default_factory=dict)
    gap_since: Micros = MIN_AT
    """The presence time of a retained offline word: the beginning of the gap in hearing; MIN_AT: there is none."""
    words: Words = field(default_factory=lambda: WORDS)
    """What says online or offline: handlers/words.py."""


def decode(publish: Publish, context: Context, heard_until: Micros | None) -> Decoded:
    """Turn one publish into observations; whatever the bytes, this raises nothing.

    `heard_until` is set only while a backlog is drained: until when this session is known to have heard everything.
    """
    route = context.topics.route(publish.topic)
    if route is None:
        return dead("topic", f'no pattern matches "{truncate(publish.topic)}": add one to the setting topics')
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
    except orjson.JSONDecodeError:
        return tolerantly(publish, context, route.device, heard_until)
    return telemetry(body, publish, context, route.device, heard_until)


def tolerantly(publish: Publish, context: Context, device: DeviceKey, heard_until: Micros | None) -> Decoded:
    """Turn telemetry that is no JSON into what of it can be used, as `decode` does."""
    payload = publish.payload
    if not tolerant.trimmed(payload) and payload.strip():
        return _NOTHING
    try:
        body, bad = tolerant.loads(payload)
    except tolerant.NotJsonError as error:
        return dead("json", f"the payload is not JSON: {error}")
    decoded = telemetry(body, publish, context, device, heard_until)
    if decoded.dead is not None:
        return decoded
    errors = [*(one.error() for one in bad), *decoded.field_errors]
    return decoded._replace(field_errors=capped(errors))


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
    dates = dated(fields.time, publish.received_at, context.liveness, heard_until)
    observation = _observe(fields, ONLINE, publish, context, device, dates)
    if fields.device is not None:
        _compare(fields.device, device, errors)
    return _new(Decoded, ((observation,), capped(errors) if errors else (), dates[2], None))


def _array(
    bodies: list[Any], publish: Publish, context: Context, device: DeviceKey, heard_until: Micros | None
) -> Decoded:
    """Decode a batch of telemetry objects; an entry that is no object costs only itself."""
    if len(bodies) > MAX_ARRAY:
        return dead("shape", f"an array of {len(bodies)} entries: send at most {MAX_ARRAY} in one message")
    entries: list[Fields] = []
    errors: list[FieldError] = []
    for index, body in enumerate(bodies):
        if body.__class__ is not dict:
            errors.append(bad_field(f"[{index}]", f"is {described(body)}, not an object", body))
            continue
        own: list[FieldError] = []
        fields = read(body, context.field_paths, own)
        if fields.device is not None:
            _compare(fields.device, device, own)
        entries.append(fields)
        errors += [one._replace(field=f"[{index}].{one.field}") for one in own]
    if bodies and not entries:
        return dead("shape", "the payload is an array without any object: send an array of objects")
    return _in_order(entries, errors, publish, context, device, heard_until)


def _in_order(
    entries: list[Fields],
    errors: list[FieldError],
    publish: Publish,
    context: Context,
    device: DeviceKey,
    heard_until: Micros | None,
) -> Decoded:
    """Put the entries of a batch at their times; entries without one count in their order."""
    received_at, liveness = publish.received_at, context.liveness
    heard_since = 0 if liveness.event_time else received_at if heard_until is None else heard_until
    until = MAX_AT if liveness.event_time else received_at
    observations: list[Observation] = []
    any_skewed = False
    found = ages([fields.time for fields in entries], received_at, received_at, liveness)
    for fields, (at, time, skewed, _) in zip(entries, found, strict=True):
        seen_at = time if time is not None and heard_since <= time <= until else received_at
        observations.append(_observe(fields, ONLINE, publish, context, device, (at, seen_at, skewed)))
        any_skewed = any_skewed or skewed
    return Decoded(tuple(observations), capped(errors), any_skewed)


def _presence(publish: Publish, context: Context, device: DeviceKey, heard_until: Micros | None) -> Decoded:
    """Decode a connection or status message."""
    payload = tolerant.trimmed(publish.payload)
    if not payload and publish.payload.strip():
        return _NOTHING
    fields = NOTHING
    try:
        body, errors = _word_or_json(payload)
    except ValueError as error:
        return dead("json", f"the payload is neither a word nor JSON: {error}")
    if isinstance(body, list):
        return dead("shape", f"the payload is an array: send {ACCEPTED} or a JSON object")
    if isinstance(body, dict):
        fields = read(body, context.field_paths, errors)
        presence = spoken(fields.words, errors, context.words)
        said = described(fields.words[0][1]) if fields.words else f"none of {', '.join(PRESENCE)}"
    else:
        presence, said = meaning(body, context.words), described(body)
    if presence is None:
        return dead("presence", f"the payload says {said}: send {ACCEPTED}")
    if fields.device is not None:
        _compare(fields.device, device, errors)
    time = fields.time if presence is ONLINE else None
    dates = dated(time, publish.received_at, context.liveness, heard_until)
    observation = _observe(fields, presence, publish, context, device, dates)
    if presence is OFFLINE and not publish.retain:
        own, _, skewed = dated(fields.time, publish.received_at, context.liveness, None)
        measured_at = None if fields.time is None or skewed else own
        return went_offline(observation, measured_at, errors, said_time=fields.time is not None)
    return Decoded((observation,), capped(errors), dates[2])


def _word_or_json(payload: bytes) -> tuple[object, list[FieldError]]:
    """Return the JSON value when it looks like one, else the bare text; with what was left out.

    Raises: ValueError for neither.
    """
    if payload.lstrip()[:1] not in (b"{", b"[", b'"'):
        return tolerant.decoded(payload), []
    try:
        return orjson.loads(payload), []
    except orjson.JSONDecodeError:
        body, bad = tolerant.loads(payload)
        return body, [one.error() for one in bad]


def _observe(
    fields: Fields,
    presence: Presence,
    publish: Publish,
    context: Context,
    device: DeviceKey,
    dates: tuple[Micros, Micros, bool],
) -> Observation:
    """Put the fields at their times, as `dated` gives them."""
    battery, signal, firmware, readings, _, _, _ = fields
    at, seen_at, _ = dates
    snapshot = publish.retain
    if snapshot:
        battery, signal, firmware, readings = None, None, (), ()
        seen_at = context.gap_since if presence is OFFLINE else seen_at
    seen = (
        context.integration_id, device, at, seen_at, publish.received_at, "mqtt", None, presence, snapshot,
        battery, signal, firmware, readings, None,
    )  # fmt: skip
    return _new(Observation, seen)


def dated(
    time: Micros | None, received_at: Micros, liveness: Liveness, heard_until: Micros | None
) -> tuple[Micros, Micros, bool]:
    """Return the event time and the presence time of what came with this time, and whether its clock was not usable."""
    if time is None:
        return received_at, received_at, False
    if not device_usable(time, received_at, liveness):
        return received_at, received_at, True
    drained = heard_until is not None and heard_until <= time <= received_at
    return time, time if liveness.event_time or drained else received_at, False


def _compare(claimed: tuple[str, str], device: DeviceKey, errors: list[FieldError]) -> None:
    name, claim = claimed
    if claim != device.external_id:
        told = (
            f'names "{truncate(claim)}", the topic "{truncate(device.external_id or "")}": the topic counts'
        )
        errors.append(bad_field(name, told, claim))
