"""Golioth's JSON to our values: devices, artifacts, credentials."""

from collections.abc import Mapping
from typing import Any

from handlers.events import MAX_COMPONENT, MAX_EXTERNAL_ID, MAX_SERIAL_NUMBER, MAX_VERSION, FieldError
from ingest.providers import reported
from ingest.providers.columns import (
    MAX_COHORT_ID,
    MAX_HARDWARE_ID,
    MAX_HARDWARE_IDS,
    MAX_NAME,
    MAX_TAG,
    MAX_TAGS,
    Columns,
    newest,
)
from ingest.providers.port import Artifact, Credential, Installed, ListedDevice

IDLE = frozenset(("0", "idle", "updated"))
"""States of a package in which no update runs; 1 is downloading, 2 downloaded, 3 updating.

Source: Golioth's Firmware SDK, golioth_ota_state.
"""
CREDENTIAL_TYPES = {"PRE_SHARED_KEY": "PRE_SHARED_KEY", "ASYMMETRIC_KEY_PAIR": "CERTIFICATE"}


def listed(raw: object, tags: Mapping[str, str]) -> ListedDevice | FieldError:
    """Read one device, `tags` are names by id. A FieldError means that even its id cannot be used."""
    columns = Columns()
    if not isinstance(raw, dict):
        return FieldError("device", "is not an object")
    external_id = columns.text("id", raw.get("id"), MAX_EXTERNAL_ID)
    if external_id is None:
        return columns.problems[0] if columns.problems else FieldError("id", "is missing")
    facts = _object(raw.get("metadata"))
    name = columns.text("name", raw.get("name"), MAX_NAME)
    tag_ids = columns.texts("tagIds", raw.get("tagIds"), MAX_TAG, MAX_TAGS)
    # state has no times of its own: such values can only fill what is empty
    state = reported.read(raw.get("data"), None, lambda _: None, columns)
    online = (
        columns.moment("metadata.lastSeenOnline", facts.get("lastSeenOnline")),
        columns.moment("metadata.lastReport", facts.get("lastReport")),
        columns.moment("lastReport", raw.get("lastReport")),
    )
    return ListedDevice(
        external_id=external_id,
        name=name,
        serial_number=columns.text("name as serial number", name, MAX_SERIAL_NUMBER),
        hardware_ids=columns.texts("hardwareIds", raw.get("hardwareIds"), MAX_HARDWARE_ID, MAX_HARDWARE_IDS),
        cohort_id=columns.text("cohortId", raw.get("cohortId"), MAX_COHORT_ID),
        golioth_status=_status(raw.get("enabled")),
        tags=tuple(dict.fromkeys(tags.get(tag_id, tag_id) for tag_id in tag_ids)),
        metadata=columns.metadata({"blueprint_id": raw.get("blueprintId") or None}),
        online_at=newest(*online),
        offline_at=columns.moment("metadata.lastSeenOffline", facts.get("lastSeenOffline")),
        battery_level=state.battery_level,
        signal_strength=state.signal_strength,
        firmware=_firmware(facts.get("update"), columns),
        updated_at=columns.moment("updatedAt", raw.get("updatedAt")),
        problems=columns.problems,
    )


def update_in_progress(raw: Mapping[str, Any]) -> bool | None:
    """Return whether any package says that it is being updated; None when none says anything."""
    states = [
        str(entry["state"]).lower()
        for entry in _object(_object(raw.get("metadata")).get("update")).values()
        if isinstance(entry, dict) and entry.get("state") is not None
    ]
    return any(state not in IDLE for state in states) if states else None


def update_available(raw: Mapping[str, Any]) -> bool | None:
    """Return whether any package has a target that it does not run; None when none has a target."""
    entries = [
        entry
        for entry in _object(_object(raw.get("metadata")).get("update")).values()
        if isinstance(entry, dict) and entry.get("target")
    ]
    return any(entry["target"] != entry.get("version") for entry in entries) if entries else None


def artifact(raw: object) -> Artifact | None:
    """Read one artifact; None when it has no usable id, package or version."""
    if not isinstance(raw, dict):
        return None
    columns = Columns()
    external_id = columns.text("id", raw.get("id"), MAX_EXTERNAL_ID)
    package = columns.text("package", raw.get("package"), MAX_COMPONENT)
    version = columns.text("version", raw.get("version"), MAX_VERSION)
    if external_id is None or package is None or version is None:
        return None
    size = str(raw.get("size", ""))
    found = {"blueprint_id": raw.get("blueprintId") or None, "binary": raw.get("binaryInfo") or None}
    return Artifact(
        external_id,
        package,
        version,
        size_bytes=int(size) if size.isdecimal() and len(size) < 19 else None,
        released_at=columns.moment("createdAt", raw.get("createdAt")),
        metadata=columns.metadata(found),
    )


def credential(raw: object) -> Credential | None:
    """Read one credential; None when it has no usable id or identity."""
    if not isinstance(raw, dict):
        return None
    columns = Columns()
    external_id = columns.text("id", raw.get("id"), MAX_EXTERNAL_ID)
    identity = columns.text("identity", raw.get("identity"), MAX_NAME)
    kind = CREDENTIAL_TYPES.get(str(raw.get("type") or "PRE_SHARED_KEY"))
    if external_id is None or identity is None or kind is None:
        return None
    secret = raw.get("preSharedKey")
    created_at = columns.moment("createdAt", raw.get("createdAt"))
    return Credential(external_id, kind, identity, secret if isinstance(secret, str) else None, created_at)


def _firmware(update: object, columns: Columns) -> tuple[Installed, ...]:
    """Read `metadata.update`: package -> what the device last reported of it, which has no time."""
    versions = {
        package: entry.get("version") if isinstance(entry, dict) else entry
        for package, entry in _object(update).items()
    }
    # an object with a key `version` would be read as one version: no package can be called that
    stray = versions.pop("version", None)
    if stray is not None:
        columns.problem("metadata.update", 'names a package "version", which is no component')
    return tuple(Installed(*pair) for pair in columns.versions("metadata.update", versions))


def _status(enabled: object) -> str | None:
    return {True: "enabled", False: "disabled"}.get(enabled) if isinstance(enabled, bool) else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
