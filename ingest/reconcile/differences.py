"""Differences that a dry run shows: rows before and after, field by field, and pushes to the provider."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from handlers.conflicts import METADATA
from ingest.store.commit.batch import Decided
from ingest.store.queries import queries

Connection = Any
Fields = dict[str, Any]


class Difference(NamedTuple):
    """One field. `what`: created or changed in the row, pushed to the provider, or a new or standing conflict."""

    device: str
    what: str
    field: str
    before: Any
    after: Any


async def rows_of(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Fields | None]:
    """Return the fields of these devices, None for those that this transaction has made."""
    found = await connection.fetch(queries()["device_rows"], ids)
    return {row["id"]: None if row["is_new"] else _fields(row["device"], row["firmware"]) for row in found}


async def after_all(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Fields]:
    """Return the fields of these devices as they are now."""
    found = await connection.fetch(queries()["device_rows"], ids)
    return {row["id"]: _fields(row["device"], row["firmware"]) for row in found}


def between(
    before: Mapping[UUID, Fields | None], after: Mapping[UUID, Fields], names: Mapping[UUID, str]
) -> Iterator[Difference]:
    """Yield what differs, in the order of the devices' names."""
    for device_id in sorted(after, key=lambda one: names[one]):
        old, new = before.get(device_id), after[device_id]
        what = "created" if old is None else "changed"
        for field in sorted({*(old or {}), *new}):
            one, other = (old or {}).get(field), new.get(field)
            if one != other:
                yield Difference(names[device_id], what, field, one, other)


def decided(found: Sequence[Decided], names: Mapping[UUID, str]) -> Iterator[Difference]:
    """Yield what would be pushed, and what is in conflict: the provider's value and the row's."""
    for fact, local, decision, _ in sorted(
        found, key=lambda one: (names[one.fact.device_id], one.fact.field)
    ):
        remote = orjson.loads(fact.remote)
        if decision.kind == "push":
            yield Difference(names[fact.device_id], "pushed", fact.field, remote, decision.value)
        elif decision.kind == "conflict" and local is not None:
            yield Difference(names[fact.device_id], "conflict", fact.field, orjson.loads(local), remote)


def _fields(device: str, firmware: str | None) -> Fields:
    fields: Fields = orjson.loads(device)
    metadata = fields.pop("metadata", None) or {}
    fields |= {METADATA + key: value for key, value in metadata.items()}
    components = orjson.loads(firmware) if firmware else {}
    return fields | {f"firmware.{component}": version for component, version in components.items()}
