"""AWS' things to our values: registry attributes, fleet-index connectivity, reported shadow."""

from datetime import datetime

import orjson

from handlers.events import MAX_EXTERNAL_ID, MAX_SERIAL_NUMBER, FieldError, Micros
from ingest.errors import Declined
from ingest.providers import reported
from ingest.providers.columns import MAX_HARDWARE_ID, MAX_HARDWARE_IDS, MAX_NAME, MAX_TAG, MAX_TAGS, Columns
from ingest.providers.port import DeviceChanges, ListedDevice

NAME, SERIAL, HARDWARE_IDS, TAGS = "name", "serial_number", "hardware_ids", "tags"
COLUMNS = (NAME, SERIAL, HARDWARE_IDS, TAGS)
"""The attributes that are columns of ours; lists are separated by commas. All others are metadata."""


def listed(thing: object) -> ListedDevice | FieldError:
    """Read a thing of the registry, or a document of the fleet index, which knows more."""
    columns = Columns()
    if not isinstance(thing, dict):
        return FieldError("thing", "is not an object")
    external_id = columns.text("thingName", thing.get("thingName"), MAX_EXTERNAL_ID)
    if external_id is None:
        return columns.problems[0] if columns.problems else FieldError("thingName", "is missing")
    found = thing.get("attributes")
    attributes = found if isinstance(found, dict) else {}
    own = {key: value for key, value in attributes.items() if key not in COLUMNS}
    state = _shadow(thing.get("shadow"), columns)
    device = ListedDevice(
        external_id=external_id,
        name=columns.text(NAME, attributes.get(NAME), MAX_NAME) or external_id,
        serial_number=columns.text(SERIAL, attributes.get(SERIAL), MAX_SERIAL_NUMBER),
        hardware_ids=columns.texts(
            HARDWARE_IDS, _split(attributes.get(HARDWARE_IDS)), MAX_HARDWARE_ID, MAX_HARDWARE_IDS
        ),
        tags=columns.texts(TAGS, _split(attributes.get(TAGS)), MAX_TAG, MAX_TAGS),
        metadata=columns.metadata({"thing_type": thing.get("thingTypeName"), **own}),
        battery_level=state.battery_level,
        battery_at=state.battery_at,
        signal_strength=state.signal_strength,
        signal_at=state.signal_at,
        firmware=state.firmware,
    )
    device = connected(device, thing.get("connectivity"), columns)
    return device._replace(problems=columns.problems)


def connected(device: ListedDevice, connectivity: object, columns: Columns) -> ListedDevice:
    """Put the connection state in; after about an hour offline AWS may have no time for it."""
    if not isinstance(connectivity, dict) or not isinstance(connectivity.get("connected"), bool):
        return device
    is_connected = connectivity["connected"]
    at = moment(columns, "connectivity.timestamp", connectivity.get("timestamp"))
    return device._replace(
        connected=is_connected,
        connected_at=at,
        online_at=at if is_connected else None,
        offline_at=None if is_connected else at,
    )


def moment(columns: Columns, field: str, value: object) -> Micros | None:
    """Return the time that botocore made of a timestamp, or that stands there in milliseconds."""
    return columns.moment(field, value.isoformat() if isinstance(value, datetime) else value)


def attributes(changes: DeviceChanges) -> dict[str, str]:
    """Return the attributes to merge; an empty one is removed. Raises: Declined for what no attribute can hold."""
    written: dict[str, str] = {}
    if changes.name is not None:
        written[NAME] = changes.name
    for name, texts in ((TAGS, changes.tags), (HARDWARE_IDS, changes.hardware_ids)):
        if any("," in one for one in texts or ()):
            raise Declined(f"AWS IoT: {name} are separated by commas in one attribute: none may hold one")
        if texts is not None:
            written[name] = ",".join(texts)
    for key, value in (changes.metadata or {}).items():
        if key in COLUMNS:
            raise Declined(f"AWS IoT: the attribute {key!r} is not metadata: write it by its own field")
        if isinstance(value, dict | list):
            raise Declined(
                f"AWS IoT: metadata {key!r} is an object or an array: an attribute holds text only"
            )
        text = str(value).lower() if isinstance(value, bool) else str(value)
        written[key] = "" if value is None else text
    return written


def _shadow(text: object, columns: Columns) -> reported.Shadow:
    """Read the classic shadow, which the index holds as text; its metadata has seconds per property."""
    if not isinstance(text, str) or not text:
        return reported.Shadow()
    try:
        shadow = orjson.loads(text)
    except orjson.JSONDecodeError:
        columns.problem("shadow", "is not JSON")
        return reported.Shadow()
    if not isinstance(shadow, dict):
        return reported.Shadow()
    metadata = shadow.get("metadata")
    stamps = metadata.get("reported") if isinstance(metadata, dict) else None

    def stamp(node: object) -> Micros | None:
        return columns.moment("shadow.metadata", node.get("timestamp")) if isinstance(node, dict) else None

    return reported.read(shadow.get("reported"), stamps, stamp, columns)


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
