"""Keys that name a device in a webhook's object, at its top or inside.

Senders use the same few sets of keys again and again, so which of an object's keys can name a device is remembered.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from handlers import facts as facts_of
from handlers.events import MAX_EXTERNAL_ID, MAX_SERIAL_NUMBER, DeviceKey, FieldError
from handlers.shapes import Fields
from handlers.text import clipped, text_error

EXTERNAL_IDS = ("device_id", "deviceid", "device", "external_id", "externalid")
SERIAL_NUMBERS = ("serial_number", "serialnumber")
HARDWARE_IDS = ("hardware_ids", "hardwareids")
"""Keys in lower case, the preferred first."""
NO_DEVICE = (
    "the event names no device: send device_id, deviceId, device, external_id, serial_number or hardware_ids"
)
_MAX_KEYS = 32
_MAX_KEY = 32
"""Characters; longer keys name no device."""
_MAX_REMEMBERED = 4_096

Errors = list[FieldError]


class Names(NamedTuple):
    """The keys of an object that may name its device, the preferred first."""

    external_ids: tuple[str, ...]
    serial_numbers: tuple[str, ...]
    hardware_ids: tuple[str, ...]


_ALL = Names(EXTERNAL_IDS, SERIAL_NUMBERS, HARDWARE_IDS)
_NEW = Names((), (), ())
_remembered: dict[tuple[str, ...], Names | None] = {}
"""A memo of `_names_among`, nothing else."""
_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments."""


def identified(body: Mapping[str, Any], fields: Fields, errors: Errors) -> DeviceKey | str:
    """Return the device that an object names at its top, or inside; or a text that says that it names none."""
    keys = tuple(body)
    names = _remembered.get(keys, _NEW)
    if names is _NEW:
        names = _names_among(keys)
    if names is None:
        body = {key.lower(): body[key] for key in sorted(body, reverse=True) if len(key) <= _MAX_KEY}
        names = _ALL
    external_ids, serial_numbers, hardware_keys = names
    is_nested = body.get("device").__class__ is dict
    if is_nested:
        external_ids = tuple(key for key in external_ids if key != "device")
    own: Errors = []
    external_id = facts_of.text(body, external_ids, MAX_EXTERNAL_ID, own)
    if external_id is None and fields.device is not None:
        name, claimed = fields.device
        at_top = name in body and not (is_nested and name == "device")
        if not at_top and text_error(claimed.strip(), MAX_EXTERNAL_ID) is None:
            external_id = claimed.strip()
    serial_number = facts_of.text(body, serial_numbers, MAX_SERIAL_NUMBER, own) if serial_numbers else None
    hardware_ids = (
        facts_of.texts(body, hardware_keys, facts_of.MAX_HARDWARE_ID, own) if hardware_keys else None
    )
    errors += own
    if external_id is None and serial_number is None and not hardware_ids:
        return clipped(f"{own[0].field} {own[0].error}; {NO_DEVICE}") if own else NO_DEVICE
    return _new(DeviceKey, (external_id, serial_number, hardware_ids or ()))


def _names_among(keys: tuple[str, ...]) -> Names | None:
    """Find what may name a device, and remember it (bounded); None where a key is not in lower case."""
    names = None
    if len(keys) <= _MAX_KEYS and all(map(str.islower, keys)):
        names = Names(*(tuple(key for key in group if key in keys) for group in _ALL))
    if len(keys) <= _MAX_KEYS and sum(map(len, keys)) <= 1_024:
        if len(_remembered) >= _MAX_REMEMBERED:
            _remembered.clear()
        _remembered[keys] = names
    return names
