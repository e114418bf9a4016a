"""A device's own message inside an event, read by the field rules of the dialect `plain`."""

import re
from typing import Any, NamedTuple

from handlers.ages import Age, ages
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
from handlers.text import bad_field, dead, described, text_error
from handlers.timestamps import usable
from handlers.webhooks.delivery import MAX_EVENTS, Context, Request
from handlers.webhooks.observing import compare, is_silent, observed
from handlers.words import meaning, spoken

_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments."""
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


class _Said(NamedTuple):
    """One message: its fields, its presence, and what was wrong with it."""

    fields: Fields
    presence: Presence | None
    errors: list[FieldError]
    place: int = 0


def reported(message: object, envelope: Envelope, errors: list[FieldError]) -> Decoded:
    """Return what a message says: an object, an array of them, or a bare number or text under the topic's name."""
    if isinstance(message, dict):
        return _observed(envelope, _said(message, envelope, errors))
    if isinstance(message, list):
        return _array(message, envelope, errors)
    return _bare(message, envelope, errors)


def _said(message: dict[str, Any], envelope: Envelope, errors: list[FieldError]) -> _Said:
    """Read one object; without presence keys it says online."""
    fields = read(message, envelope.context.field_paths, errors)
    compare(fields, envelope.device, errors, envelope.where)
    presence: Presence | None = Presence.ONLINE
    if envelope.words and fields.words:
        presence = spoken(fields.words, errors, envelope.context.words)
    return _new(_Said, (fields, presence, errors, 0))


def _observed(envelope: Envelope, said: _Said, age: Age | None = None) -> Decoded:
    request, context, device, _, cloud, *_ = envelope
    fields, presence, errors, _ = said
    if presence is None and is_silent(fields):
        return Decoded((), capped(errors))
    return observed(request, context, device, errors, fields=fields, presence=presence, cloud=cloud, age=age)


def _array(messages: list[Any], envelope: Envelope, errors: list[FieldError]) -> Decoded:
    """Read a batch of objects of one device; an entry that is no object costs only itself."""
    if len(messages) > envelope.room:
        told = f"an array of {len(messages)} entries: at most {envelope.room} fit, {MAX_EVENTS} in a whole request"
        return dead("shape", told)
    entries: list[_Said] = []
    for index, message in enumerate(messages):
        if isinstance(message, dict):
            entries.append(_said(message, envelope, [])._replace(place=index))
        else:
            errors.append(bad_field(f"[{index}]", f"is {described(message)}, not an object", message))
    if not entries:
        return dead("shape", "the message is an array without any object: send an array of objects")
    return _in_order(entries, envelope, errors)


def _in_order(entries: list[_Said], envelope: Envelope, errors: list[FieldError]) -> Decoded:
    """Put the entries of a batch at their times: the last one is of the message's time, each earlier one 1 us older."""
    received_at, liveness, cloud = envelope.request.received_at, envelope.context.liveness, envelope.cloud
    base = cloud if cloud is not None and usable(cloud, received_at, liveness.max_ahead) else received_at
    observations: list[Observation] = []
    skewed = False
    found = ages([said.fields.time for said in entries], base, received_at, liveness)
    for said, age in zip(entries, found, strict=True):
        one = _observed(envelope, said, age)
        observations += one.observations
        errors += [error._replace(field=f"[{said.place}].{error.field}") for error in one.field_errors]
        skewed = skewed or one.skewed
    return Decoded(tuple(observations), capped(errors), skewed)


def _bare(message: object, envelope: Envelope, errors: list[FieldError]) -> Decoded:
    """Read `23.5` of the topic `temp` as {"temp": 23.5}, and a word as presence."""
    topic = envelope.topic if text_error(envelope.topic, MAX_READING_NAME) is None else "value"
    paths = envelope.context.field_paths
    online = Presence.ONLINE
    if not isinstance(message, str):
        return _observed(envelope, _Said(read({topic: message}, paths, errors), online, errors))
    word = message.strip()
    presence = None if word.isdigit() else meaning(word, envelope.context.words)
    fields = NOTHING if presence else read({topic: word}, paths, errors)
    if fields == NOTHING and not presence and len(word) <= MAX_READING_NAME and _NUMBER.fullmatch(word):
        fields = read({topic: float(word)}, paths, errors)
    return _observed(envelope, _Said(fields, presence or online, errors))
