"""A device's own message inside an event, read by the field rules of the dialect `plain`."""

import re
from typing import Any, NamedTuple

from handlers.events import (
    MAX_READING_NAME,
    Decoded,
    DeviceKey,
    FieldError,
    Micros,
    Observation,
    Presence,
)
from handlers.shapes import Fields
from handlers.telemetry import NOTHING, capped, read
from handlers.text import dead, described, text_error
from handlers.webhooks.delivery import MAX_EVENTS, Context, Request
from handlers.webhooks.observing import compare, observed
from handlers.words import meaning, spoken

_NUMBER = re.compile(r"[+-]?[0-9]{1,25}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,2})?")


class Envelope(NamedTuple):
    """What is around the message: who sent it, when by the cloud's clock, and which field named the device (`where`).

    `topic` is the name of a bare number or text; an array may hold `room` messages. With `words` an object's status
    words are its presence; without, any message says online.
    """

    request: Request
    context: Context
    device: DeviceKey
    where: str
    cloud: Micros | None = None
    topic: str = "value"
    room: int = MAX_EVENTS
    words: bool = False


def reported(message: object, envelope: Envelope, errors: list[FieldError]) -> Decoded:
    """Return what a message says: an object, an array of them, or a bare number or text under the topic's name."""
    if isinstance(message, dict):
        fields = read(message, envelope.context.field_paths, errors)
        compare(fields, envelope.device, errors, envelope.where)
        presence = spoken(fields.words) if envelope.words else None
        return _observed(envelope, fields, presence, errors)
    if isinstance(message, list):
        return _array(message, envelope, errors)
    return _bare(message, envelope, errors)


def _observed(
    envelope: Envelope, fields: Fields, presence: Presence | None, errors: list[FieldError]
) -> Decoded:
    request, context, device, _, cloud, *_ = envelope
    presence = presence or Presence.ONLINE
    return observed(request, context, device, errors, fields=fields, presence=presence, cloud=cloud)


def _array(messages: list[Any], envelope: Envelope, errors: list[FieldError]) -> Decoded:
    """Read a batch of objects of one device; an entry that is no object costs only itself."""
    if len(messages) > envelope.room:
        told = f"an array of {len(messages)} entries: at most {envelope.room} fit, {MAX_EVENTS} in a whole request"
        return dead("shape", told)
    received_at = envelope.request.received_at
    observations: list[Observation] = []
    skewed = False
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            errors.append(FieldError(f"[{index}]", f"is {described(message)}, not an object"))
            continue
        request = envelope.request._replace(received_at=received_at + index)
        one = reported(message, envelope._replace(request=request), [])
        observations += one.observations
        errors += [FieldError(f"[{index}].{field}", error) for field, error in one.field_errors]
        skewed = skewed or one.skewed
    if not observations:
        return dead("shape", "the message is an array without any object: send an array of objects")
    return Decoded(tuple(observations), capped(errors), skewed)


def _bare(message: object, envelope: Envelope, errors: list[FieldError]) -> Decoded:
    """Read `23.5` of the topic `temp` as {"temp": 23.5}, and a word as presence."""
    topic = envelope.topic if text_error(envelope.topic, MAX_READING_NAME) is None else "value"
    paths = envelope.context.field_paths
    if not isinstance(message, str):
        return _observed(envelope, read({topic: message}, paths, errors), None, errors)
    word = message.strip()
    presence = None if word.isdigit() else meaning(word)
    fields = NOTHING if presence else read({topic: word}, paths, errors)
    if fields == NOTHING and not presence and len(word) <= MAX_READING_NAME and _NUMBER.fullmatch(word):
        fields = read({topic: float(word)}, paths, errors)
    return _observed(envelope, fields, presence, errors)
