"""Small inputs with what a person would expect of them: one JSON object a line, in mqtt.jsonl and cloud.jsonl.

In a text, `$s-60` is the time a minute ago in seconds since the epoch, `$ms-60` in milliseconds, `$iso-60` in ISO 8601
without a zone, and `$minute-60` only to its minute. DEVICE is the device's id.

`want` may name: status, battery, signal, firmware, history (versions, the oldest first), readings, battery_age_s (how
old its battery level is), skewed (messages with an unusable time), errors (fields that could not be used), dead (the
kind of its dead letter) and says (a part of its error), no_row; for a webhook also result and status_code.
"""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

FOLDER = Path(__file__).parent
_TIME = re.compile(r"\$(ms|s|iso|minute)-([0-9]+)")
_FORMS = {"iso": "%Y-%m-%dT%H:%M:%S", "minute": "%Y-%m-%dT%H:%M"}
ROW = """
select d.id, d.status::text as status, d.battery_level as battery, d.signal_strength as signal,
    d.firmware_version as firmware, s.battery_at
from devices d join rollcall.device_state s on s.device_id = d.id where d.external_device_id = $1"""
HISTORY = "select firmware_version from device_firmware_history where device_id = $1 order by installed_at"
READINGS = "select name, value from rollcall.device_readings where device_id = $1"
TOLERANCE_S = 30


def load(name: str) -> list[dict[str, Any]]:
    """Return the cases of a file."""
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


def filled(text: str, device: str, now: datetime) -> str:
    """Return a text with its times and its device."""

    def time(found: re.Match[str]) -> str:
        at = now - timedelta(seconds=int(found[2]))
        if found[1] in _FORMS:
            return at.strftime(_FORMS[found[1]])
        return str(int(at.timestamp()) * (1000 if found[1] == "ms" else 1))

    return _TIME.sub(time, text).replace("DEVICE", device)


def payload(form: dict[str, Any], device: str, now: datetime) -> bytes:
    """Return the bytes of one message."""
    if "base64" in form:
        return base64.b64decode(form["base64"]).replace(b"DEVICE", device.encode())
    text = form["text"] if "text" in form else json.dumps(form["body"])
    return filled(text, device, now).encode()


async def differences(pool: asyncpg.Pool, want: dict[str, Any], device: str) -> list[str]:
    """Return what of the device's row, history and readings is not as wanted."""
    row = await pool.fetchrow(ROW, device)
    if row is None or "no_row" in want or "dead" in want:
        wanted = "no_row" in want or "dead" in want
        return [] if (row is None) == wanted else [f"row {row}"]
    found = {name: row[name] for name in ("status", "battery", "signal", "firmware")}
    if "history" in want:
        found["history"] = [one[0] for one in await pool.fetch(HISTORY, row["id"])]
    if "readings" in want:
        found["readings"] = {one["name"]: one["value"] for one in await pool.fetch(READINGS, row["id"])}
    told = [f"{name} {found[name]!r}" for name in found if name in want and found[name] != want[name]]
    if "battery_age_s" in want:
        age_s = datetime.now(UTC).timestamp() - (row["battery_at"] or 0) / 1e6
        if not 0 <= age_s - want["battery_age_s"] < TOLERANCE_S:
            told.append(f"battery_age_s {age_s}")
    return told
