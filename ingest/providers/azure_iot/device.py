"""Azure's twins to our values."""

from typing import Any

from handlers.events import MAX_EXTERNAL_ID, MAX_SERIAL_NUMBER, FieldError, Micros
from ingest.errors import Declined
from ingest.providers import reported
from ingest.providers.columns import (
    MAX_HARDWARE_ID,
    MAX_HARDWARE_IDS,
    MAX_NAME,
    MAX_TAG,
    MAX_TAGS,
    Columns,
    newest,
)
from ingest.providers.port import DeviceChanges, ListedDevice

NAME, SERIAL, HARDWARE_IDS, TAGS = "name", "serial_number", "hardware_ids", "tags"
COLUMNS = (NAME, SERIAL, HARDWARE_IDS, TAGS)
"""The twin tags that are columns of ours. All others are metadata."""


def listed(twin: object) -> ListedDevice | FieldError:
    """Read a device twin."""
    columns = Columns()
    if not isinstance(twin, dict):
        return FieldError("twin", "is not an object")
    external_id = columns.text("deviceId", twin.get("deviceId"), MAX_EXTERNAL_ID)
    if external_id is None:
        return columns.problems[0] if columns.problems else FieldError("deviceId", "is missing")
    tags = object_or_empty(twin.get("tags"))
    own = {key: value for key, value in tags.items() if key not in COLUMNS}
    properties = object_or_empty(object_or_empty(twin.get("properties")).get("reported"))

    def stamp(node: object) -> Micros | None:
        return columns.moment("$lastUpdated", node.get("$lastUpdated")) if isinstance(node, dict) else None

    state = reported.read(
        {key: value for key, value in properties.items() if not key.startswith("$")},
        properties.get("$metadata"),
        stamp,
        columns,
    )
    device = ListedDevice(
        external_id=external_id,
        name=columns.text(NAME, tags.get(NAME), MAX_NAME) or external_id,
        serial_number=columns.text(SERIAL, tags.get(SERIAL), MAX_SERIAL_NUMBER),
        hardware_ids=columns.texts(HARDWARE_IDS, tags.get(HARDWARE_IDS), MAX_HARDWARE_ID, MAX_HARDWARE_IDS),
        tags=columns.texts(TAGS, tags.get(TAGS), MAX_TAG, MAX_TAGS),
        metadata=columns.metadata({"model_id": twin.get("modelId") or None, **own}),
        battery_level=state.battery_level,
        battery_at=state.battery_at,
        signal_strength=state.signal_strength,
        signal_at=state.signal_at,
        firmware=state.firmware,
    )
    device = connected(device, twin, columns)
    return device._replace(problems=columns.problems)


def connected(device: ListedDevice, facts: dict[str, Any], columns: Columns) -> ListedDevice:
    """Put the connection state of a twin or an identity in. Any activity shows that the device was online then."""
    state = {"Connected": True, "Disconnected": False}.get(str(facts.get("connectionState")))
    since = columns.moment("connectionStateUpdatedTime", facts.get("connectionStateUpdatedTime"))
    active_at = columns.moment("lastActivityTime", facts.get("lastActivityTime"))
    return device._replace(
        connected=state,
        connected_at=since,
        online_at=newest(active_at, since if state is True else None, device.online_at),
        offline_at=since if state is False else None,
    )


def tags(changes: DeviceChanges) -> dict[str, Any]:
    """Return the twin tags to merge; null removes one. Raises: Declined for metadata in a column's place."""
    written: dict[str, Any] = dict(changes.metadata or {})
    for key in written:
        if key in COLUMNS:
            raise Declined(f"Azure IoT Hub: the tag {key!r} is not metadata: write it by its own field")
    for name, value in ((NAME, changes.name), (TAGS, changes.tags), (HARDWARE_IDS, changes.hardware_ids)):
        if value is not None:
            written[name] = list(value) if isinstance(value, tuple) else value
    return written


def object_or_empty(value: object) -> dict[str, Any]:
    """Return an object, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}
